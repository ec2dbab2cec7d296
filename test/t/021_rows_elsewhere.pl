# Tables whose rows are elsewhere: an extension has queries of a table read another
# one. Every function then gives what plain SQL gives, and reads no index of the
# table itself, be the extension there from the start or come later.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use File::Copy qw(copy);
use PostgreSQL::Test::Utils;
use Test::More;

my $source = "$FindBin::RealBin/../modules/redirect";
my $build = PostgreSQL::Test::Utils::tempdir_short();
my $include = "$FindBin::RealBin/../../src";
my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
copy("$source/$_", "$build/$_") or die "$source/$_: $!" for qw(Makefile redirect.c);
my $log = `make -s -C '$build' PG_CONFIG='$pg_config' PG_CPPFLAGS='-I$include' with_llvm=no 2>&1`;
die "the module cannot be built: $log" if $?;
chmod 0755, $build;
my $module = "$build/redirect";

my $node = start_node('elsewhere');
my ($ret, $out, $err);

# The rows left behind are others, so that nothing read from them can pass for right.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE event (id int PRIMARY KEY, a int NOT NULL, n int, t text NOT NULL);
CREATE INDEX ON event (a, id);
CREATE INDEX ON event (n, id) WHERE a < 5;
CREATE TABLE event_elsewhere (LIKE event INCLUDING ALL);
INSERT INTO event SELECT -i, -i, -i, 'left behind' FROM generate_series(1, 12000) i;
INSERT INTO event_elsewhere SELECT i, i % 40, nullif(i % 7, 0), md5(i::text) FROM generate_series(1, 20000, 2) i;
CREATE TABLE parted (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (20000);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (20000) TO (MAXVALUE);
INSERT INTO parted SELECT i, 0 FROM generate_series(1, 40000) i;
CREATE TABLE parted_1_elsewhere (LIKE parted INCLUDING ALL);
INSERT INTO parted_1_elsewhere SELECT i, 0 FROM generate_series(1, 19999, 2) i;
CREATE TABLE copied (id int PRIMARY KEY);
CREATE TABLE here (id int PRIMARY KEY);
INSERT INTO here SELECT generate_series(1, 20000);
CREATE FUNCTION pages(size int, key text = NULL, filter text = NULL) RETURNS SETOF event LANGUAGE plpgsql AS $$
DECLARE
	place jsonb;
	row event;
	found_any boolean;
BEGIN
	LOOP
		found_any := false;
		FOR row IN SELECT * FROM chunked.page(NULL::event, size, place, key => key, filter => filter) LOOP
			found_any := true;
			RETURN NEXT row;
		END LOOP;
		EXIT WHEN NOT found_any;
		place := chunked.position_of(row, key);
	END LOOP;
END $$;
CREATE FUNCTION back(size int) RETURNS SETOF int LANGUAGE plpgsql AS $$
DECLARE
	place jsonb := (SELECT last FROM chunked.bounds('event'));
	ids int[];
BEGIN
	LOOP
		SELECT array_agg(p.id) INTO ids FROM chunked.page(NULL::event, size, before => place) p;
		EXIT WHEN ids IS NULL;
		RETURN QUERY SELECT i FROM unnest(ids) i;
		place := jsonb_build_object('id', ids[1]);
	END LOOP;
END $$;
-- "chunks C, R rows, D of them different, as counted": what the predicates select, by plain SQL
CREATE FUNCTION covered(call text, relation text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	c chunked.chunk;
	ids int[];
	seen int[] := '{}';
	as_counted boolean := true;
	chunks int := 0;
BEGIN
	FOR c IN EXECUTE 'SELECT * FROM chunked.' || call LOOP
		EXECUTE format('SELECT array_agg(id) FROM %s WHERE %s', relation, c.predicate) INTO ids;
		as_counted := as_counted AND c.row_count = cardinality(ids);
		seen := seen || ids;
		chunks := chunks + 1;
	END LOOP;
	RETURN format('%s chunks, %s rows, %s different, %s', chunks, cardinality(seen),
		(SELECT count(DISTINCT i) FROM unnest(seen) i), CASE WHEN as_counted THEN 'as counted' ELSE 'otherwise counted' END);
END $$;
SQL

# both(SESSION, NAME, SQL, PLAIN): what the functions give is what plain SQL gives.
sub both
{
	my ($session, $name, $sql, $plain) = @_;
	my @got = $session->query($sql);
	my @wanted = $session->query($plain);
	is("@got", "@wanted", $name);
	return;
}

sub walks
{
	my ($session, $name) = @_;
	my $last = '{"id": "19999"}';

	both($session, "$name: plain SQL reads the other table", 'SELECT 10000', 'SELECT count(*) FROM event');
	both($session, "$name: row_count, $_", "SELECT chunked.row_count('event', $_)", 'SELECT 10000') for qw(true false);
	both($session, "$name: row_count with a filter", q{SELECT chunked.row_count('event', filter => 'a = 5')}, 'SELECT count(*) FROM event WHERE a = 5');
	both($session, "$name: paginator, $_", "SELECT * FROM chunked.paginator('event', 300, exact => $_)", 'SELECT 10000, 34') for qw(true false);
	for my $exact (qw(true false))
	{
		both($session, "$name: seek, $exact", "SELECT chunked.seek('event', 7000, $exact)", 'SELECT jsonb_build_object($$id$$, id::text) FROM event ORDER BY id OFFSET 6999 LIMIT 1');
		both($session, "$name: seek by a composite key, $exact", "SELECT chunked.seek('event', 7000, $exact, 'a, id')",
			'SELECT jsonb_build_object($$a$$, a::text, $$id$$, id::text) FROM event ORDER BY a, id OFFSET 6999 LIMIT 1');
		both($session, "$name: seek past the end, $exact", "SELECT chunked.seek('event', 10001, $exact)", 'SELECT NULL');
		both($session, "$name: paginate, $exact", "SELECT array_agg(id) FROM chunked.paginate(NULL::event, 12, 300, exact => $exact)",
			'SELECT array_agg(id) FROM (SELECT id FROM event ORDER BY id OFFSET 3300 LIMIT 300) e');
		both($session, "$name: chunks, $exact", "SELECT covered(\$\$chunks('event', 3000, $exact)\$\$, 'event')", q{SELECT '4 chunks, 10000 rows, 10000 different, as counted'});
		both($session, "$name: chunks by a composite key, $exact", "SELECT covered(\$\$chunks('event', 3000, $exact, key => 'a DESC, id')\$\$, 'event')",
			q{SELECT '4 chunks, 10000 rows, 10000 different, as counted'});
		both($session, "$name: split, $exact", "SELECT covered(\$\$split('event', 7, $exact)\$\$, 'event')", q{SELECT '7 chunks, 10000 rows, 10000 different, as counted'});
	}
	both($session, "$name: bounds", q{SELECT first, last FROM chunked.bounds('event')}, qq{SELECT '{"id": "1"}', '$last'});
	both($session, "$name: pages", 'SELECT array_agg(id) FROM pages(900)', 'SELECT array_agg(id ORDER BY id) FROM event');
	both($session, "$name: pages by a composite key", q{SELECT array_agg(id) FROM pages(900, 'a, id')}, 'SELECT array_agg(id ORDER BY a, id) FROM event');
	both($session, "$name: pages in mixed directions, with nulls", q{SELECT array_agg(id) FROM pages(900, 'n DESC NULLS LAST, id')},
		'SELECT array_agg(id ORDER BY n DESC NULLS LAST, id) FROM event');
	both($session, "$name: pages with the filter of a partial index", q{SELECT array_agg(id) FROM pages(90, 'n, id', 'a < 5')}, 'SELECT array_agg(id ORDER BY n, id) FROM event WHERE a < 5');
	both($session, "$name: pages backwards", 'SELECT count(*), count(DISTINCT b) FROM back(900) b', 'SELECT 9999, 9999');
	for my $call (q{split('event', 3, key => 'ctid')}, q{chunks('event', key => 'ctid')})
	{
		($out, $err) = $session->query("SELECT * FROM chunked.$call");
		like($err, qr/ERROR:  relation "event" cannot be split by ctid\nDETAIL:  An extension has the server read its rows elsewhere/, "$name: refused: $call");
	}
	for my $run (q{'event', 'INSERT INTO copied SELECT id FROM event WHERE {chunk}'}, q{'here', 'INSERT INTO copied SELECT h.id FROM here h JOIN event e ON e.id = h.id WHERE {chunk:h}'})
	{
		$session->query('TRUNCATE copied');
		my (undef, $messages) = $session->query("CALL chunked.run($run, chunk_size => 900)");
		unlike($messages, qr/ERROR|WARNING/, "$name: run($run)");
		both($session, "$name: what it did", 'SELECT count(*), count(e.id) FROM copied LEFT JOIN event e USING (id)', 'SELECT 10000, 10000');
	}
	# (a scan of the module's own cannot be updated by)
	return if $name =~ /path/;
	my (undef, $messages) = $session->query(q{CALL chunked.run('event', 'UPDATE event SET t = ''touched'' WHERE {chunk}', chunk_size => 900)});
	unlike($messages, qr/ERROR|WARNING/, "$name: run() an update");
	both($session, "$name: what it did", q{SELECT count(*) FROM event WHERE t = 'touched'}, 'SELECT 10000');
	$session->query(q{UPDATE event SET t = id});
	return;
}

# In a session that has read the table itself before
my $session = explained(session($node));
is($session->query(q{SELECT chunked.row_count('event')}), 12000, 'nothing is elsewhere yet');
is($session->query(q{SELECT chunked.row_count('event', false) > 11000}), 't', 'nor by the estimate');
is($session->query(q{SELECT count(*) FROM chunked.page(NULL::event, 10)}), 10, 'pages, too');
my (undef, @native) = plans($session, q{SELECT chunked.row_count('event')});
is(scalar(@native), 0, 'the index is read directly');
$session->query("LOAD '$module'");
$session->query('SET auto_explain.log_min_duration = -1');
for my $how (qw(relation scan path))
{
	# what an extension says of a table, it says by changing it, so that plans of before are void
	my $change = q{ALTER TABLE event SET (autovacuum_enabled = on)};

	$session->query("SET redirect.how = $how; $change");
	walks($session, "$how, loaded");
	next if $how eq 'path';
	$session->query("SET redirect.by_value = on; $change");
	($out, $err) = $session->query('SET plan_cache_mode = force_generic_plan; PREPARE q AS SELECT id FROM event WHERE id > $1; EXECUTE q (1); DEALLOCATE q; RESET plan_cache_mode');
	like($err, qr/could not create distributed plan/, 'generic plans are refused');
	walks($session, "$how by value, loaded");
	$session->query("SET redirect.by_value = off; $change");
}

# Once the rows are here, the index is read directly again, the extension being there or not.
$session->query('SET redirect.how = none; ALTER TABLE event SET (autovacuum_enabled = on); SET auto_explain.log_min_duration = 0');
is($session->query(q{SELECT chunked.row_count('event')}), 12000, 'back again');
(undef, @native) = plans($session, q{SELECT chunked.row_count('event')});
is(scalar(@native), 0, 'and read directly');

# A single partition's rows
is($session->query(q{SELECT chunked.row_count('parted', false) BETWEEN 39000 AND 41000}), 't', 'partitions are estimated');
$session->query('SET redirect.how = path; ALTER TABLE parted_1 SET (autovacuum_enabled = on); SET auto_explain.log_min_duration = -1');
both($session, 'a partition elsewhere: plain SQL', 'SELECT 30001', 'SELECT count(*) FROM parted');
both($session, "a partition elsewhere: row_count, $_", "SELECT chunked.row_count('parted', $_)", 'SELECT count(*) FROM parted') for qw(true);
both($session, 'a partition elsewhere: seek', q{SELECT chunked.seek('parted', 10001, false)}, q{SELECT '{"id": "20000"}'});
both($session, 'a partition elsewhere: split', q{SELECT covered($$split('parted', 3)$$, 'parted')}, q{SELECT '3 chunks, 30001 rows, 30001 different, as counted'});
$session->quit;

# Where the extension is there from the start, in background workers as well
$node->append_conf('postgresql.conf', "shared_preload_libraries = '$module'\nredirect.by_value = on\n");
$node->restart;
for my $how (qw(scan relation))
{
	$node->append_conf('postgresql.conf', "redirect.how = $how\n");
	$node->reload;
	$session = session($node);
	walks($session, "$how by value, preloaded");
	$session->query('TRUNCATE copied');
	($out, $err) = $session->query(q{CALL chunked.run('event', 'INSERT INTO copied SELECT id FROM event WHERE {chunk}', chunk_size => 900, workers => 2)});
	unlike($err, qr/ERROR|WARNING/, "$how: run() in workers");
	both($session, "$how: what they did", 'SELECT count(*) FROM copied', 'SELECT 10000');
	$session->quit;
}

# Another access method than heap: its indexes are read by queries.
$node->safe_psql('postgres', <<SQL);
CREATE FUNCTION redirect_tableam(internal) RETURNS table_am_handler LANGUAGE c AS '$module';
CREATE ACCESS METHOD heap_by_another_name TYPE TABLE HANDLER redirect_tableam;
CREATE TABLE other (id int PRIMARY KEY) USING heap_by_another_name;
CREATE TABLE same (id int PRIMARY KEY);
INSERT INTO other SELECT generate_series(1, 10000);
INSERT INTO same SELECT generate_series(1, 10000);
SQL
$session = explained(session($node));
for my $case ([ 'other', 1 ], [ 'same', 0 ])
{
	my ($table, $queries) = @$case;
	for my $call ("row_count('$table')", "seek('$table', 5000)", "seek('$table', 5000, false)")
	{
		(undef, my @plans) = plans($session, "SELECT chunked.$call");
		is(scalar(@plans), $queries, "$call: queries");
	}
}
$session->quit;

$node->stop;
done_testing();
