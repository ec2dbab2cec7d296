# Direct reads of an index while it is written, split, emptied, vacuumed and made
# anew: in one snapshot they give what queries give, on the primary and on a
# standby; and they show nobody more than queries do.
#
# STRESS_SECONDS (15) is how long the writers go on; STRESS_ROWS (1000000) the
# size of the table that a cancelled count reads.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use IPC::Run ();
use List::Util qw(min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $SECONDS = $ENV{STRESS_SECONDS} || 15;
my $ROWS = $ENV{STRESS_ROWS} || 1_000_000;

my $primary = PostgreSQL::Test::Cluster->new('native');
$primary->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$primary->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
max_connections = 50
max_standby_streaming_delay = -1
deadlock_timeout = 20ms
max_wal_size = 4GB
CONF
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION pg_chunked');

# What is written ---------------------------------------------------------------

$primary->safe_psql('postgres', <<'SQL');
-- one table, a walk by each kind of index
CREATE TABLE event (id bigint PRIMARY KEY, u uuid NOT NULL UNIQUE, tenant text NOT NULL, n int, v int NOT NULL DEFAULT 0, UNIQUE (tenant, id))
	WITH (fillfactor = 70);
CREATE INDEX ON event (n, id DESC);

-- a dozen keys a page: every insert and delete changes the tree
CREATE TABLE storm (k text NOT NULL);
ALTER TABLE storm ALTER k SET STORAGE PLAIN;
ALTER TABLE storm ADD PRIMARY KEY (k) WITH (fillfactor = 10);

-- a handful of such pages, so that what is written is where somebody reads
CREATE TABLE tiny (LIKE storm);
ALTER TABLE tiny ALTER k SET STORAGE PLAIN;
ALTER TABLE tiny ADD PRIMARY KEY (k);

-- few keys, many versions of each, which come to share posting lists
CREATE TABLE version (id int PRIMARY KEY, v int NOT NULL);
CREATE INDEX ON version (v, id);

-- partitions whose keys lie between each other's
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE part_0 PARTITION OF part FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE part_1 PARTITION OF part FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES WITH (MODULUS 3, REMAINDER 2);


-- one after the other, but for what lies in a gap between them, and below one of them
CREATE TABLE ranged (id int, n int, PRIMARY KEY (id, n)) PARTITION BY RANGE (id);
CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM (1000) TO (3000);
CREATE TABLE ranged_2 PARTITION OF ranged FOR VALUES FROM (3000) TO (9000) PARTITION BY HASH (n);
CREATE TABLE ranged_2_0 PARTITION OF ranged_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE ranged_2_1 PARTITION OF ranged_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE ranged_3 PARTITION OF ranged FOR VALUES FROM (10000) TO (19000);
CREATE TABLE ranged_rest PARTITION OF ranged DEFAULT;

CREATE FUNCTION event_new(many int) RETURNS void LANGUAGE sql AS $$
INSERT INTO event SELECT floor(random() * 6000), gen_random_uuid(), 'tenant ' || floor(random() * 9), nullif(floor(random() * 30)::int, 0)
FROM generate_series(1, many) ON CONFLICT DO NOTHING
$$;
CREATE FUNCTION storm_new(many int) RETURNS void LANGUAGE sql AS $$
INSERT INTO storm SELECT repeat(prefix || md5(random()::text), 19) FROM generate_series(1, many), chr(97 + floor(random() * 20)::int) prefix
$$;

SELECT event_new(4500);
SELECT storm_new(100) FROM generate_series(1, 15);
INSERT INTO version SELECT i, i % 7 FROM generate_series(1, 600) i;
INSERT INTO part SELECT generate_series(1, 20000, 4);
INSERT INTO ranged SELECT i, i % 3 FROM generate_series(1, 20000, 6) i;
VACUUM ANALYZE;

CREATE FUNCTION write_event() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	picked bigint[] := ARRAY(SELECT floor(random() * 6000) FROM generate_series(1, 30));
	start bigint := floor(random() * 6000);
BEGIN
	CASE floor(random() * 8)
		WHEN 0, 1 THEN PERFORM event_new(60);
		WHEN 2 THEN PERFORM event_new(300);
		WHEN 3 THEN DELETE FROM event WHERE id = ANY (picked);
		WHEN 4 THEN DELETE FROM event WHERE id BETWEEN start AND start + 300;
		WHEN 5 THEN UPDATE event SET v = v + 1 WHERE id = ANY (picked);
		WHEN 6 THEN UPDATE event SET id = 6000 - id, u = gen_random_uuid(), n = nullif((n + 1) % 30, 0) WHERE id = picked[1];
		ELSE
			PERFORM event_new(100);
			DELETE FROM event WHERE id BETWEEN start AND start + 100;
			RAISE EXCEPTION USING ERRCODE = 'unique_violation';
	END CASE;
EXCEPTION WHEN unique_violation OR deadlock_detected THEN
	NULL;
END
$$;
CREATE FUNCTION write_storm() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	prefix text := chr(97 + floor(random() * 20)::int);
BEGIN
	IF (SELECT count(*) FROM storm) > 2000 OR random() < 0.4 THEN
		DELETE FROM storm WHERE k >= prefix AND k < prefix || 'z';
	ELSE
		PERFORM storm_new(150);
	END IF;
EXCEPTION WHEN unique_violation OR deadlock_detected THEN
	NULL;
END
$$;
CREATE FUNCTION write_tiny() RETURNS void LANGUAGE sql AS $$
WITH gone AS (DELETE FROM tiny WHERE k < (SELECT k FROM tiny ORDER BY k OFFSET 40 + floor(random() * 100) LIMIT 1) AND random() < 0.7)
INSERT INTO tiny SELECT repeat(CASE WHEN random() < 0.5 THEN md5(random()::text) ELSE to_char(clock_timestamp(), '"g"YYYYMMDDHH24MISSUS') || md5(random()::text) END, 15)
FROM generate_series(1, 12) ON CONFLICT DO NOTHING
$$;
CREATE FUNCTION write_version() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	start int := floor(random() * 600);
BEGIN
	UPDATE version SET v = v + 1 WHERE id BETWEEN start AND start + 15;
	IF random() < 0.1 THEN
		DELETE FROM version WHERE id = start;
	ELSE
		INSERT INTO version VALUES (start, 0) ON CONFLICT DO NOTHING;
	END IF;
EXCEPTION WHEN unique_violation OR deadlock_detected THEN
	NULL;
END
$$;
CREATE FUNCTION write_part() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	start int := floor(random() * 20000);
BEGIN
	IF random() < 0.5 THEN
		INSERT INTO part SELECT floor(random() * 20000) FROM generate_series(1, 300) ON CONFLICT DO NOTHING;
	ELSE
		DELETE FROM part WHERE id BETWEEN start AND start + 1500;
	END IF;
	IF random() < 0.5 THEN
		INSERT INTO ranged SELECT floor(random() * 20000), i % 3 FROM generate_series(1, 200) i ON CONFLICT DO NOTHING;
	ELSE
		DELETE FROM ranged WHERE id BETWEEN start AND start + 1500;
	END IF;
EXCEPTION WHEN deadlock_detected THEN
	NULL;
END
$$;
SQL

# What is compared --------------------------------------------------------------

# All of it is STABLE, so that one statement has one snapshot for it.
$primary->safe_psql('postgres', <<'SQL');
CREATE TABLE walk (number int, relation text, key text, order_by text);
INSERT INTO walk SELECT row_number() OVER (), * FROM (VALUES
	('event', 'id', 'id'), ('event', 'id DESC', 'id DESC'),
	('event', 'u', 'u'), ('event', 'u DESC', 'u DESC'),
	('event', 'tenant, id', 'tenant, id'), ('event', 'tenant DESC, id DESC', 'tenant DESC, id DESC'),
	('event', 'n, id DESC', 'n, id DESC'), ('event', 'n DESC, id', 'n DESC, id'),
	('storm', 'k', 'k'), ('storm', 'k DESC', 'k DESC'),
	('version', 'id', 'id'), ('version', 'id DESC', 'id DESC'), ('version', 'v, id', 'v, id'), ('version', 'v DESC, id DESC', 'v DESC, id DESC'),
	('part', 'id', 'id'), ('part', 'id DESC', 'id DESC'),
	('ranged', 'id, n', 'id, n'), ('ranged', 'id DESC, n DESC', 'id DESC, n DESC')) w;

-- the answer to a question about $1 the relation, $2 the key, $3 and $4
CREATE FUNCTION ask(native boolean, question text, relation text, key text, a bigint, b bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
	answer text;
BEGIN
	PERFORM set_config('pg_chunked.native', native::text, true);
	EXECUTE 'SELECT (' || question || ')::text' INTO answer USING relation::regclass, key, a, b;
	PERFORM set_config('pg_chunked.native', 'on', true);
	RETURN answer;
END
$$;

CREATE FUNCTION compare(number int) RETURNS SETOF text LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
	w walk := (SELECT walk FROM walk WHERE walk.number = compare.number);
	rows bigint;
	counted bigint;
	question text;
	answer text;
	expected text;
	a bigint;
	b bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM %s', w.relation) INTO rows;
	a := 1 + floor(random() * (rows + 1));
	b := 1 + floor(random() * (rows + 1));

	-- both ways, and what is known without either; how a predicate is written depends on statistics, which ANALYZE changes meanwhile
	FOR question, expected IN VALUES
		('chunked.row_count($1, key => $2)', rows::text),
		('SELECT sum(row_count) FROM chunked.chunks($1, $3, key => $2)', nullif(rows, 0)::text),
		('SELECT md5(string_agg((number, after, upto, row_count)::text, '' '' ORDER BY number)) FROM chunked.chunks($1, 1 + $4 % 40, key => $2) c', '-'),
		('SELECT md5(string_agg((number, after, upto, row_count)::text, '' '' ORDER BY number)) FROM chunked.chunks($1, 1 + $3 % 500, key => $2) c', '-'),
		('SELECT md5(string_agg((number, after, upto, row_count)::text, '' '' ORDER BY number)) FROM chunked.chunks($1, 40, after => chunked.seek($1, $3, key => $2), upto => chunked.seek($1, $4, key => $2), key => $2) c', '-'),
		('SELECT (after, upto, row_count) FROM chunked.next_chunk($1, 1 + $3 % 50, chunked.seek($1, $4, key => $2), key => $2)', '-'),
		('SELECT md5(string_agg((number, after, upto, row_count)::text, '' '' ORDER BY number)) FROM chunked.split($1, 7, true, key => $2) c', '-'),
		('SELECT max(row_count) - min(row_count) <= 1 AND count(*) = least(7, sum(row_count)) FROM chunked.split($1, 7, true, key => $2) c', CASE WHEN rows > 0 THEN 'true' END),
		('SELECT p FROM chunked.paginator($1, 17, key => $2) p', format('(%s,%s)', rows, greatest(rows + 16, 17) / 17)),
		('chunked.seek($1, $3, key => $2)', '?'),
		('chunked.seek($1, $4, key => $2)', '?')
	LOOP
		IF expected = '?' THEN
			EXECUTE format('SELECT chunked.position_of(t, $1)::text FROM %s t ORDER BY %s OFFSET %s LIMIT 1', w.relation, w.order_by,
				CASE WHEN question ~ 'seek.*[$]3' THEN a ELSE b END - 1) INTO expected USING w.key;
		ELSIF expected = '-' THEN
			expected := ask(false, question, w.relation, w.key, a, b);
		ELSE
			answer := ask(false, question, w.relation, w.key, a, b);
			IF answer IS DISTINCT FROM expected THEN
				RETURN NEXT format('%s %s by query: %s is %s, not %s', w, ARRAY[a, b], question, answer, expected);
			END IF;
		END IF;
		answer := ask(true, question, w.relation, w.key, a, b);
		IF answer IS DISTINCT FROM expected THEN
			RETURN NEXT format('%s %s directly: %s is %s, not %s', w, ARRAY[a, b], question, answer, expected);
		END IF;
	END LOOP;

	-- a page by its number
	EXECUTE format('SELECT md5(string_agg(p::text, '' '')) FROM chunked.paginate(NULL::%s, $1, 13, key => $2) p', w.relation)
		INTO answer USING 1 + (a - 1) / 13 * least(1, rows / 13), w.key;
	EXECUTE format('SELECT md5(string_agg(t::text, '' '' ORDER BY %s)) FROM (SELECT * FROM %s ORDER BY %1$s OFFSET $1 LIMIT 13) t', w.order_by, w.relation)
		INTO expected USING (a - 1) / 13 * least(1, rows / 13) * 13;
	IF answer IS DISTINCT FROM expected THEN
		RETURN NEXT format('%s: page of row %s is another', w, a);
	END IF;
EXCEPTION WHEN no_data_found THEN
	IF a <= rows THEN
		RETURN NEXT format('%s: page of row %s of %s: %s', w, a, rows, SQLERRM);
	END IF;
END
$$;

-- little, again and again: pages split and go while it is on them
CREATE FUNCTION compare_tiny() RETURNS SETOF text LANGUAGE plpgsql STABLE AS $$
DECLARE
	expected text := (SELECT format('%1$s %2$s %1$s %3$s', count(*), min(left(k, 60)), max(left(k, 60))) FROM tiny);
	answer text;
BEGIN
	FOR i IN 1 .. 100 LOOP
		answer := format('%s %s %s %s', chunked.row_count('tiny'), left(chunked.seek('tiny', 1)->>'k', 60),
			chunked.row_count('tiny', key => 'k DESC'), left(chunked.seek('tiny', 1, key => 'k DESC')->>'k', 60));
		IF answer <> expected THEN
			RETURN NEXT format('tiny: %s, not %s', answer, expected);
		END IF;
	END LOOP;
END
$$;

-- estimates cover every row once, and show only rows that are to be seen
CREATE FUNCTION compare_estimates(number int) RETURNS SETOF text LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
	w walk := (SELECT walk FROM walk WHERE walk.number = compare_estimates.number);
	rows bigint;
	source text;
	sum_of_predicates text;
	n bigint;
	wrong bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM %s', w.relation) INTO rows;
	FOREACH source IN ARRAY ARRAY[
		'chunked.chunks($1, greatest($3 / 8, 1), false, key => $2, alias => ''t'')',
		'chunked.chunks($1, greatest($3 / 60, 1), false, key => $2, alias => ''t'')',
		'chunked.chunks($1, greatest($3 / 20, 1), false, chunked.seek($1, greatest($3 / 4, 1), false, $2), chunked.seek($1, greatest($3 / 2, 1), false, $2), key => $2, alias => ''t'')',
		'chunked.split($1, 5, key => $2, alias => ''t'')',
		'chunked.split($1, 24, key => $2, alias => ''t'')']
	LOOP
		EXECUTE format('SELECT count(*), string_agg(format(''coalesce((%%s), false)::int'', predicate), '' + '') FROM %s', source)
			INTO n, sum_of_predicates USING w.relation::regclass, w.key, rows;
		IF source ~ 'split' AND n <> least(rows, substring(source from '\$1, (\d+)')::int) THEN
			RETURN NEXT format('%s: %s gives %s chunks of %s rows', w, source, n, rows);
		END IF;
		IF source ~ 'seek' THEN
			-- no row twice; which are in it, the positions tell
			EXECUTE format('SELECT count(*) FILTER (WHERE %s > 1) FROM %s t', coalesce(sum_of_predicates, '0'), w.relation) INTO wrong;
		ELSE
			EXECUTE format('SELECT count(*) FILTER (WHERE %s <> 1) FROM %s t', coalesce(sum_of_predicates, '0'), w.relation) INTO wrong;
		END IF;
		IF wrong > 0 THEN
			RETURN NEXT format('%s: %s: %s of %s rows are not in just one of %s chunks', w, source, wrong, rows, n);
		END IF;
		EXECUTE format('SELECT count(*) FROM %s c WHERE NOT EXISTS (SELECT FROM %s t WHERE chunked.position_of(t, $2) = c.upto)', source, w.relation)
			INTO wrong USING w.relation::regclass, w.key, rows;
		IF wrong > 0 THEN
			RETURN NEXT format('%s: %s ends at %s rows that are not to be seen', w, source, wrong);
		END IF;
	END LOOP;

	EXECUTE format('SELECT count(*) FROM generate_series(1, 1 + $2, greatest(1 + $2 / 15, 1)) r, chunked.seek(%L, r, false, $1) p WHERE p IS NOT NULL
			AND NOT EXISTS (SELECT FROM %1$s t WHERE chunked.position_of(t, $1) = p)', w.relation)
		INTO wrong USING w.key, rows;
	IF wrong > 0 THEN
		RETURN NEXT format('%s: seek by estimate gives %s positions that are not to be seen', w, wrong);
	END IF;
END
$$;

-- estimated pages have every row once, as long as nobody changes the estimate
CREATE FUNCTION compare_pages(number int) RETURNS SETOF text LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
	w walk := (SELECT walk FROM walk WHERE walk.number = compare_pages.number);
	rows bigint;
	estimated bigint;
	n int := 0;
	seen text[] := '{}';
	page text[];
	found bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM %s', w.relation) INTO rows;
	estimated := greatest(chunked.row_count(w.relation::regclass, false, w.key), 1);
	BEGIN
		WHILE n < 60 LOOP
			n := n + 1;
			EXECUTE format('SELECT array_agg(chunked.position_of(p, $1)::text) FROM chunked.paginate(NULL::%s, $2, $3, 0, false, $1) p', w.relation)
				INTO page USING w.key, n, (estimated / 12 + 1)::int;
			seen := seen || coalesce(page, '{}');
		END LOOP;
		RETURN NEXT format('%s: estimated pages do not end', w);
	EXCEPTION WHEN no_data_found THEN
		NULL;
	END;
	SELECT count(DISTINCT s) INTO found FROM unnest(seen) s;
	IF cardinality(seen) <> rows OR found <> rows THEN
		RETURN NEXT format('%s: %s estimated pages have %s rows, %s of them distinct, of %s', w, n - 1, cardinality(seen), found, rows);
	END IF;
END
$$;

CREATE TABLE verified (number int, how text, problem text);
CREATE FUNCTION verify(number int, how text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO verified SELECT number, how, problem FROM (VALUES (number)) v LEFT JOIN LATERAL
		(SELECT * FROM compare(number) UNION ALL SELECT * FROM compare_estimates(number)) p (problem) ON true
$$;
SQL
my $WALKS = $primary->safe_psql('postgres', 'SELECT count(*) FROM walk');

# of(SQL): as one line, cut short
sub of
{
	my ($sql) = @_;
	return substr($primary->safe_psql('postgres', $sql), 0, 4000);
}

sub agree_at_rest
{
	my ($name) = @_;
	is(of(qq(SELECT p FROM generate_series(1, $WALKS) n,
		LATERAL (SELECT * FROM compare(n) UNION ALL SELECT * FROM compare_estimates(n) UNION ALL SELECT * FROM compare_pages(n)) t (p))), '', $name);
	return;
}

# It all holds, or nothing that follows means anything.
agree_at_rest('both ways agree on tables at rest');

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'hot_standby_feedback = off');
$standby->start;

sub catch_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

# Writers and readers --------------------------------------------------------------

my %scripts = (
	event => 'BEGIN; SELECT write_event(); \sleep 2 ms
COMMIT;',
	rollback => 'BEGIN; SELECT write_event(); SELECT write_storm(); \sleep 5 ms
ROLLBACK;',
	storm => 'SELECT write_storm();',
	tiny => 'SELECT write_tiny();',
	version => 'SELECT write_version();',
	part => 'SELECT write_part();',
	vacuum => 'VACUUM (INDEX_CLEANUP ON, SKIP_LOCKED) storm; VACUUM (INDEX_CLEANUP ON, SKIP_LOCKED) event;
VACUUM (INDEX_CLEANUP ON, SKIP_LOCKED) version; VACUUM (INDEX_CLEANUP ON) part; VACUUM (INDEX_CLEANUP ON) ranged; \sleep 20 ms',
	vacuum_tiny => 'VACUUM tiny; \sleep 100 ms',
	analyze => 'ANALYZE (SKIP_LOCKED) event; ANALYZE (SKIP_LOCKED) storm; ANALYZE (SKIP_LOCKED) version; ANALYZE part; \sleep 700 ms',
	reindex => join("\n", map { "REINDEX INDEX CONCURRENTLY $_; \\sleep 700 ms" }
		qw(event_pkey storm_pkey version_v_id_idx event_u_key version_pkey event_n_id_idx event_tenant_id_key)),
	statement => "\\set walk random(1, $WALKS)
SELECT verify(:walk, 'statement');",
	tiny_again => "INSERT INTO verified SELECT NULL, 'tiny', problem FROM (VALUES (1)) v LEFT JOIN compare_tiny() p (problem) ON true;",
	# the same snapshot grows old, and sees what this transaction does itself
	transaction => "\\set walk random(1, $WALKS)
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT verify(:walk, 'transaction');
\\sleep 150 ms
SELECT verify(:walk, 'transaction');
SAVEPOINT s;
INSERT INTO part VALUES (20001 + :client_id); DELETE FROM version WHERE id = 1000 + :client_id; INSERT INTO version VALUES (1000 + :client_id, 1);
SELECT verify(:walk, 'transaction');
ROLLBACK TO s;
\\sleep 150 ms
SELECT verify(:walk, 'transaction');
COMMIT;");
my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/$_", join "\n", map { s/; (?=\S)/;\n/gr } $scripts{$_} =~ s/^(.*?);? (\\sleep)/$1;\n$2/mgr) for keys %scripts;

# load CLIENTS, SCRIPT...: a pgbench, each client of which takes them by turns at random
sub load
{
	my ($clients, @names) = @_;
	my %load = (names => "@names", in => '', out => '');

	$load{run} = IPC::Run::start(
		[ 'pgbench', '-n', '--max-tries=100', '-c', $clients, '-j', 1, '-T', $SECONDS, '-h', $primary->host, '-p', $primary->port,
			(map { ('-f', "$dir/$_") } @names), 'postgres' ],
		'<', \$load{in}, '>&', \$load{out});
	return \%load;
}

my $end = time() + $SECONDS;
my @loads = (load(3, qw(event event rollback storm storm version part)), load(1, 'tiny'), load(1, 'vacuum'), load(1, 'vacuum_tiny'), load(1, 'analyze'),
	load(1, 'reindex'), load(2, 'statement'), load(1, 'transaction'), load(1, 'tiny_again'));

# Meanwhile, on the standby; and a look at what state the indexes get into.
my $reader = session($standby);
my $watcher = session($primary);
my (@on_standby, $compared, $deleted_pages, $posting_lists);
(undef, my $no_contrib) = $watcher->query('CREATE EXTENSION pgstattuple; CREATE EXTENSION pageinspect');
for ($compared = 0; time() < $end; $compared++)
{
	my $number = 1 + $compared % $WALKS;
	my ($problems, $messages) = $reader->query("SELECT * FROM compare($number) UNION ALL SELECT * FROM compare_estimates($number)");

	push @on_standby, grep { length } $problems, $messages =~ /((?:ERROR|FATAL).*)/;
	next if $no_contrib =~ /ERROR/;
	$deleted_pages += $watcher->query("SELECT deleted_pages FROM pgstatindex('storm_pkey')") || 0;
	$posting_lists += $watcher->query(q{SELECT count(*) FROM pg_index i, generate_series(1, pg_relation_size(indexrelid) / 8192 - 1) block,
		LATERAL bt_page_items(indexrelid::regclass::text, block::int) WHERE indrelid = 'version'::regclass AND cardinality(tids) > 1}) || 0;
}
for my $load (@loads)
{
	ok($load->{run}->finish, "$load->{names}: no error") or diag($load->{out});
}

for my $how (qw(statement transaction tiny))
{
	is(of("SELECT problem, count(*) FROM verified WHERE problem IS NOT NULL AND how = '$how' GROUP BY 1 ORDER BY 2 DESC LIMIT 10"), '',
		{
			statement => 'in one statement both ways agree, and estimates cover all',
			transaction => 'so they do in a transaction of one snapshot',
			tiny => 'and while the very pages that are read change' }->{$how});
	cmp_ok(of("SELECT count(*) FROM verified WHERE how = '$how'"), '>', 0, 'more than once');
}
is(join("\n", @on_standby[ 0 .. min($#on_standby, 9) ]), '', 'so they do on the standby');
cmp_ok($compared, '>', 0, "$compared times");
note('compared: ' . of("SELECT string_agg(format('%s %s', how, n), ', ') FROM (SELECT how, count(*) n FROM verified GROUP BY how) v"));
SKIP:
{
	skip 'pgstattuple or pageinspect is not installed', 2 if $no_contrib =~ /ERROR/;
	cmp_ok($deleted_pages, '>', 0, 'pages had been deleted');
	cmp_ok($posting_lists, '>', 0, 'versions shared posting lists');
}

# And at rest again
agree_at_rest('both ways agree on what is left, the dead rows in it');
$primary->safe_psql('postgres', 'VACUUM ANALYZE');
agree_at_rest('and when it is vacuumed');

# A walk under way ----------------------------------------------------------------

# chunks() from a cursor: the tree changes between two chunks, the answer does not.
my $walker = session($primary);
my $other = session($primary);

sub changed_under_way
{
	my ($what, $relation, $key, @changes) = @_;
	my $chunks = "chunked.chunks('$relation', 10, key => '$key')";
	my $expected = $walker->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL pg_chunked.native = off; SELECT $chunks");
	my @got;

	$walker->query("SET LOCAL pg_chunked.native = on; DECLARE c CURSOR FOR SELECT $chunks");
	push @got, scalar $walker->query('FETCH 5 FROM c');
	for my $change (@changes)
	{
		my (undef, $messages) = $other->query($change);
		die $messages if $messages =~ /ERROR/;
		push @got, scalar $walker->query('FETCH 1 FROM c');
	}
	push @got, scalar $walker->query('FETCH ALL FROM c');
	$walker->query('COMMIT');
	is(join("\n", @got), $expected, "$what, by $key");
	return;
}

for my $key ('k', 'k DESC')
{
	$other->query('TRUNCATE storm; SELECT storm_new(100) FROM generate_series(1, 12)');
	$other->query("DELETE FROM storm WHERE k BETWEEN 'd' AND 'p'");
	changed_under_way('pages emptied before are deleted', 'storm', $key, 'VACUUM storm', 'VACUUM storm',
		'SELECT storm_new(100) FROM generate_series(1, 10)', 'VACUUM storm');
	changed_under_way('pages split, filled and emptied', 'storm', $key, 'SELECT storm_new(100) FROM generate_series(1, 10)',
		'DELETE FROM storm', 'VACUUM storm', 'SELECT storm_new(100) FROM generate_series(1, 10)');
}
changed_under_way('versions', 'version', $_, map { ('UPDATE version SET v = v + 1') x 20, 'VACUUM version' } 1 .. 2)
	for 'id', 'id DESC', 'v DESC, id DESC';

# Full leaves, whose rows are all to be looked up in the heap: a count is on one
# of them at any time, and one row more splits it, or the one that comes next.
$other->query('CREATE TABLE packed (id int PRIMARY KEY) WITH (autovacuum_enabled = off); ALTER INDEX packed_pkey SET (fillfactor = 100)');
for my $key ('id', 'id DESC')
{
	my $wrong = 0;

	for (1 .. 8)
	{
		$other->query('TRUNCATE packed; INSERT INTO packed SELECT i * 2 FROM generate_series(1, 8000) i; REINDEX TABLE packed');
		my $counts = "SELECT chunked.row_count('packed', key => '$key') FROM generate_series(1, 50)";
		$walker->send("SELECT (SELECT count(*) FROM packed) = ALL ($counts)");
		my (undef, $messages) = $other->query('DO $$ DECLARE id int; BEGIN FOR id IN SELECT i FROM generate_series(1, 16000, 366) i ORDER BY random() LOOP
			INSERT INTO packed VALUES (id); PERFORM pg_sleep(0.004); END LOOP; END $$');
		die $messages if $messages =~ /ERROR/;
		$wrong++ if $walker->receive ne 't';
	}
	is($wrong, 0, "each row counted once while leaves split, by $key");
}
$_->quit for $walker, $other, $watcher;

# The standby's snapshots --------------------------------------------------------------

# What the primary knows to be dead, and marks so in its index, a snapshot of the
# standby may still see: full-page images bring the marks.
$primary->safe_psql('postgres', 'CREATE TABLE marked (id int PRIMARY KEY); INSERT INTO marked SELECT generate_series(1, 50)');
catch_up();
$reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($reader->query("SELECT chunked.row_count('marked')"), 50, 'a snapshot on the standby');
$primary->safe_psql('postgres', 'DELETE FROM marked WHERE id BETWEEN 11 AND 30');
# no query makes the marks or the images for sure, so several do
for my $id (101 .. 103)
{
	$primary->safe_psql('postgres', 'SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM marked WHERE id > 0');
	$primary->safe_psql('postgres', "CHECKPOINT; INSERT INTO marked VALUES ($id)");
}
catch_up();
for my $native ('on', 'off')
{
	$reader->query("SET LOCAL pg_chunked.native = $native");
	is($reader->query("SELECT chunked.row_count('marked'), chunked.seek('marked', 15), (SELECT sum(row_count) FROM chunked.chunks('marked', 7))"),
		'50|{"id": "15"}|50', "rows marked dead by the primary still count, native $native");
	is($reader->query("SELECT count(*) FROM marked m WHERE (SELECT count(*) FROM chunked.split('marked', 5) c WHERE m.id > coalesce((after->>'id')::int, 0) AND m.id <= (upto->>'id')::int) = 1"),
		50, 'and lie in one part each');
}
$reader->query('COMMIT');
is($reader->query("SELECT chunked.row_count('marked')"), 33, 'and not in the next snapshot');
$reader->quit;
$standby->stop;

# Serializable -----------------------------------------------------------------------

# Each counts, then writes what the other counted: one of them has to fail.
for my $call ("chunked.row_count('marked')", "chunked.seek('marked', 20, key => 'id DESC')",
	"(SELECT count(*) FROM chunked.chunks('marked', 10))", "(SELECT count(*) FROM chunked.chunks('marked', 10, false))",
	"(SELECT count(*) FROM chunked.split('marked', 2))", "(SELECT row_count FROM chunked.paginator('marked'))")
{
	my @sessions = map { session($primary) } 1, 2;
	my $messages = '';

	$_->query("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT $call") for @sessions;
	$messages .= ($sessions[$_]->query('INSERT INTO marked VALUES (' . (200 + $_) . ')'))[1] for 0, 1;
	$messages .= ($_->query('COMMIT'))[1] for @sessions;
	like($messages, qr/could not serialize access/, "SERIALIZABLE: $call is seen to have read");
	$_->quit for @sessions;
	$primary->safe_psql('postgres', 'DELETE FROM marked WHERE id >= 200');
}

# Cancel -----------------------------------------------------------------------------

# Ten times the 100 ms promised, for machines that are busy; a call that cannot be
# cancelled runs much longer.
my $PATIENCE = 1000;
$primary->safe_psql('postgres', <<SQL);
CREATE TABLE big (id int PRIMARY KEY, u uuid NOT NULL);
INSERT INTO big SELECT i, md5(i::text)::uuid FROM generate_series(1, $ROWS) i;
CREATE UNIQUE INDEX ON big (u);
SQL
my $session = session($primary);
my $canceller = session($primary);
my $pid = $session->query('SELECT pg_backend_pid()');
for my $call ("chunked.row_count('big')", "chunked.row_count('big', key => 'u')", "chunked.row_count('big', key => 'u DESC')",
	"chunked.seek('big', 1000000000, key => 'u')", "(SELECT count(*) FROM chunked.chunks('big', 10 + i % 2, key => 'u'))",
	"(SELECT count(*) FROM chunked.split('big', 3 + i % 2, true))", "(SELECT count(*) FROM chunked.split('big', 30 + i % 2))")
{
	my ($err, @took);
	for my $wait (0.1, 0.25, 0.4)
	{
		$session->send("SELECT $call FROM generate_series(1, 1000000) i WHERE i >= 0");
		sleep $wait;
		push @took, elapsed_ms(sub {
			$canceller->query("SELECT pg_cancel_backend($pid)");
			(undef, $err) = $session->receive;
		});
		like($err, qr/canceling statement due to user request/, "$call: cancelled");
	}
	@took = sort { $a <=> $b } @took;
	note(sprintf '%s: %.0f, %.0f, %.0f ms', $call, @took);
	cmp_ok($took[1], '<', $PATIENCE, "$call: at once");
}
$_->quit for $session, $canceller;

$primary->stop;
unlike(slurp_file($_->logfile), qr/TRAP:|PANIC:|terminated by signal|left sibling|fell off|leak: |refcount leak/, $_->name . ': nothing went wrong in the server')
	for $primary, $standby;
done_testing();
