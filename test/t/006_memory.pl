# One backend's memory stays where it is: over very many calls, over errors in
# the middle of calls, over more shapes of walks than a session keeps.
#
# MEMORY_CALLS (300000) is how many: one allocation kept of each would be ten times the slack.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Utils;
use Test::More;

# How far the last block of some contexts may grow, which do so by doubling
my $SLACK = 256 * 1024;

my $node = start_node('memory', 'log_statement = none', 'synchronous_commit = off');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE event (id int PRIMARY KEY, a int NOT NULL, n int, t text NOT NULL, at timestamptz NOT NULL);
INSERT INTO event SELECT i, i % 100, nullif(i % 7, 0), repeat(md5(i::text), 100), now() FROM generate_series(1, 2000) i;
CREATE INDEX ON event (a, id);
CREATE INDEX ON event (a DESC, n, id);
CREATE INDEX ON event (n, id);
CREATE INDEX ON event (at, id);
CREATE VIEW visible AS SELECT * FROM event;
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (500);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (500) TO (10000);
INSERT INTO part SELECT generate_series(1, 1000);

-- Inside the loop, since much is freed when the statement ends.
CREATE FUNCTION memory() RETURNS bigint LANGUAGE sql AS 'SELECT sum(total_bytes) FROM pg_backend_memory_contexts';
CREATE TABLE measured (what text, calls int, before bigint, after bigint);

-- Runs a statement with $1, a number, again and again in one transaction. With catch, each time in a
-- subtransaction, and it must fail.
CREATE PROCEDURE measure(what text, calls int, statement text, catch boolean = false) LANGUAGE plpgsql AS $$
DECLARE
	before bigint;
	failed int := 0;
BEGIN
	FOR i IN 1 .. calls LOOP
		IF NOT catch THEN
			EXECUTE statement USING i;
		ELSE
			BEGIN
				EXECUTE statement USING i;
			EXCEPTION WHEN others THEN
				failed := failed + 1;
			END;
		END IF;
		IF i = calls / 5 THEN
			before := memory();
		END IF;
	END LOOP;
	IF catch AND failed <> calls THEN
		RAISE EXCEPTION '%: % of % failed', what, failed, calls;
	END IF;
	INSERT INTO measured VALUES (what, calls, before, memory());
END $$;
SQL

# measure(WHAT, CALLS, STATEMENT, CATCH). A server with assertions is for other
# errors than leaks, and slow.
my $session = session($node);
my $share = $session->query('SHOW debug_assertions') eq 'on' ? 10 : 1;

sub measure
{
	my ($what, $calls, $statement, $catch) = @_;
	$calls /= $share if $calls > 10_000;
	my $call = sprintf('CALL measure($w$%s$w$, %d, $s$%s$s$, %s)', $what, $calls, $statement, $catch ? 'true' : 'false');
	my $message;
	my $elapsed = elapsed_ms(sub { (undef, $message) = $session->query($call) });
	my $grown = $session->query(q{SELECT after - before FROM measured WHERE what = $w$} . $what . q{$w$});

	is($message, '', "$what: no errors");
	cmp_ok($grown eq '' ? 'inf' : $grown, '<=', $SLACK, "$what: $calls calls grow by $grown bytes");
	note(sprintf('%s: %.1f us a call', $what, $elapsed * 1000 / $calls));
	return;
}

# What measuring itself leaves in the session's caches is no call's.
measure('nothing', 5, 'SELECT $1');

# The three steps of a walk
my $CALLS = ($ENV{MEMORY_CALLS} || 300_000) / 3;
measure('page', $CALLS, q{SELECT FROM chunked.page(NULL::event, 1, after => jsonb_build_object('id', $1 % 2000))});
measure('next_chunk', $CALLS, q{SELECT FROM chunked.next_chunk('part', 1, after => jsonb_build_object('id', $1 % 1000))});
measure('position_of', $CALLS, q{SELECT chunked.position_of(ROW($1, 1, 1, '', 'epoch')::event, 'at')});

# Other paths, each a little
my %shapes = (
	'ladder' => q{SELECT FROM chunked.page(NULL::event, 1, after => jsonb_build_object('a', $1 % 100, 'n', $1 % 7, 'id', $1), key => 'a DESC, n')},
	'backwards' => q{SELECT FROM chunked.page(NULL::event, 5, before => jsonb_build_object('n', null, 'id', $1 % 2000), key => 'n')},
	'toasted filter' => q{SELECT FROM chunked.page(NULL::event, 2, after => jsonb_build_object('id', $1 % 2000), filter => 't <> ''''')},
	'view' => q{SELECT FROM chunked.page(NULL::visible, 1, after => jsonb_build_object('id', $1 % 2000), key => 'id')},
	'chunks, abandoned' => q{SELECT chunked.chunks('event', 10, filter => 'id > 5') LIMIT 1 + $1 % 3},
	'chunks' => q{SELECT FROM chunked.chunks('event', 500, key => 'n', scan_limit => 400, alias => 'e') OFFSET $1},
	'bounds' => q{SELECT FROM chunked.bounds('part') OFFSET $1},
	'no index' => q{SELECT FROM chunked.page(NULL::event, 1, key => 't', upto => jsonb_build_object('t', '0', 'id', $1))},
);
measure($_, 2_000, $shapes{$_}) for sort keys %shapes;

# More walks, and more queries of a walk, than are kept
measure('different filters', 3_000, q{SELECT FROM chunked.page(NULL::event, 1, filter => 'id > ' || $1)});
measure('different keys', 3_000, q{SELECT FROM chunked.page(NULL::event, 1, key => 'a' || repeat(' ', $1), upto => '{"a": -1, "id": 0}')});
measure('different queries', 3_000,
	q{SELECT FROM chunked.page(NULL::event, 1 + $1 % 2, key => 'n, ' || CASE $1 % 3 WHEN 0 THEN 'a DESC' ELSE 'a' END || ', id', after => jsonb_build_object('n', nullif($1 % 5, 0), 'a', 5, 'id', $1))});
# A walk made anew each time; in transactions of their own, as a transaction
# remembers what it altered.
my $altered = join ';', map { "ALTER TABLE part ALTER id SET STATISTICS $_; SELECT FROM chunked.page(NULL::part, 1)" } 1 .. 100;
$session->query($altered);
my $before = $session->query('SELECT memory()');
$session->query($altered) for 1 .. 5;
my $grown = $session->query('SELECT memory()') - $before;
cmp_ok($grown, '<=', $SLACK, "altered every time: 500 calls grow by $grown bytes");

# One statement that brings very many chunks, each way: it is read through a
# cursor, since what a call leaves behind is freed when its statement ends.
$session->query('CREATE TABLE long (id int PRIMARY KEY); INSERT INTO long SELECT generate_series(1, 20000); VACUUM ANALYZE long');
for my $native (qw(on off))
{
	for my $chunks ("chunks('long', 1)", "chunks('long', 1, filter => 'id > 0', scan_limit => 3)", "split('long', 19000, true)")
	{
		$session->query("SET pg_chunked.native = $native; BEGIN; DECLARE many CURSOR FOR SELECT chunked.$chunks; MOVE 1000 IN many");
		my $start = $session->query('SELECT memory()');
		$session->query('MOVE 17000 IN many');
		my $more = $session->query('SELECT memory()') - $start;
		my $last = $session->query('FETCH 1 FROM many');
		$session->query('COMMIT');
		like($last, qr/^\(18001,long,/, "native $native, $chunks: 18,000 chunks");
		cmp_ok($more, '<=', $SLACK, "native $native, $chunks: in one statement grow by $more bytes");
	}
}
$session->query(q{SET pg_chunked.native = on; INSERT INTO long SELECT generate_series(20001, 500000); VACUUM ANALYZE long;
	BEGIN; DECLARE many CURSOR FOR SELECT chunked.chunks('long', 400, exact => false); MOVE 10 IN many});
my $planned = $session->query(q{SELECT sum(used_bytes) FROM pg_backend_memory_contexts WHERE name = 'SRF multi-call context'});
cmp_ok($planned, '<=', 1250 * 256, "1,250 planned chunks are kept in $planned bytes");
$session->query('COMMIT');

# Jobs of very many chunks, each in one call; the statement tells the memory.
$session->query('SET pg_chunked.progress_interval = 100; SET client_min_messages = warning; CREATE TABLE sizes (job text, id int, bytes bigint)');
for my $job (
	[ 'first', 100, 'true' ],
	[ 'plain', 10, 'true' ],
	[ 'failing', 10, '1 / (id % 200) >= 0' ])
{
	my ($name, $size, $condition) = @$job;
	$session->query(qq{CALL chunked.run('long', \$\$INSERT INTO sizes SELECT '$name', min(id), memory() FROM long
		WHERE {chunk} AND id <= 400000 AND ($condition) HAVING min(id) % 25000 BETWEEN 1 AND $size\$\$, name => '$name', chunk_size => $size,
		filter => 'id <= 400000', max_attempts => 1, on_error => 'continue')});
	next if $name eq 'first';    # it fills the caches
	my ($count, $growth) = split /\|/, $session->query(
		qq{SELECT count(*), max(bytes) - min(bytes) FROM sizes WHERE job = '$name' AND id > 75000});
	cmp_ok($count, '>=', 10, "$name job: told its memory");
	cmp_ok($growth, '<=', $SLACK, "$name job: 30,000 chunks grow by $growth bytes");
}

# Claims, a few in each transaction, since one remembers what it wrote twice.
$session->query(q{SELECT chunked.create_job('long', name => 'claimed', chunk_size => 40)});
$session->query(<<'SQL');
DO $$
DECLARE
	before bigint;
BEGIN
	FOR i IN 1 .. 10000 LOOP
		PERFORM chunked.complete_chunk('claimed', number, fence) FROM chunked.claim_chunk('claimed');
		IF i % 10 = 0 THEN
			COMMIT;
		END IF;
		IF i = 2000 THEN
			before := memory();
		END IF;
	END LOOP;
	INSERT INTO measured VALUES ('claims', 10000, before, memory());
END $$;
SQL
my ($claimed, $kept) = split /\|/, $session->query(
	q{SELECT (SELECT count(*) FROM chunked.job_chunks WHERE job = 'claimed' AND state = 'done'), after - before FROM measured WHERE what = 'claims'});
is($claimed, 10_000, 'claimed and completed');
cmp_ok($kept, '<=', $SLACK, "claims: 8,000 calls grow by $kept bytes");

# Errors from every depth of a call, ten thousand together
my %errors = (
	'position of another key' => q{SELECT FROM chunked.page(NULL::event, 1, after => jsonb_build_object('a', $1))},
	'position that the type rejects' => q{SELECT FROM chunked.page(NULL::event, 1, after => jsonb_build_object('id', 'x' || $1))},
	'timestamp that the type rejects' => q{SELECT FROM chunked.page(NULL::event, 1, key => 'at', after => jsonb_build_object('id', 1, 'at', 'x' || $1))},
	'position with a null' => q{SELECT FROM chunked.next_chunk('part', 1, after => jsonb_build_object('id', CASE WHEN $1 < 0 THEN 0 END))},
	'unknown column' => q{SELECT chunked.position_of(NULL::event, 'nothing'), chunked.position_of(ROW($1, 1, 1, '', 'epoch')::event, 'nothing')},
	'malformed key' => q{SELECT FROM chunked.chunks('event', key => 'a DESC b' || $1)},
	'malformed filter' => q{SELECT FROM chunked.page(NULL::event, 1, filter => 'id = (' || $1)},
	'filter that fails' => q{SELECT FROM chunked.page(NULL::event, 10, filter => '1 / (id - 3) < 10 AND ' || $1 % 2 || ' < 2')},
	'duplicates at the end' => q{SELECT FROM chunked.page(NULL::visible, 10 + $1 % 2, key => 'a')},
	'chunks that fail half-way' => q{SELECT chunked.chunks('event', 100 + $1 % 2, filter => '1 / (id - 1500) < 10')},
);
measure($_, 1_000, $errors{$_}, 1) for sort keys %errors;

# The session is as good as new.
is($session->query("SELECT array_agg(id) FROM chunked.page(NULL::event, 3, after => '{\"id\": 1000}')"), '{1001,1002,1003}',
	'the walk goes on after all that');
my $leaks = grep { /leak|WARNING|PANIC|TRAP/ } split /\n/, slurp_file($node->logfile);
is($leaks, 0, 'no resource was leaked');

$session->quit;
$node->stop;
done_testing();
