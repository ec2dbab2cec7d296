# A job among others: who is waited for and how long, who gives way, and what
# it costs to look at a large ledger.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use Test::More;
use Time::HiRes ();

my $node = start_node('others', 'max_worker_processes = 10', 'deadlock_timeout = 50ms', 'wal_level = minimal', 'max_wal_senders = 0');

# error SQL: its messages, with SQLSTATEs
sub error
{
	my ($sql) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return $err;
}

value(<<'SQL');
CREATE TABLE event (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO event SELECT generate_series(1, 1000);
ANALYZE;
SQL
my $add = 'UPDATE event SET n = n + 1 WHERE {chunk}';
my $other = session($node);

#
# lock_timeout counts wherever the caller has set it
#

value("SELECT chunked.create_job('event', name => 'claims', chunk_size => 100)");
$other->query(q{BEGIN; SELECT FROM chunked.claim_chunk('claims')});
$other->query(q{SELECT chunked.pause_job('claims')});
for my $call (q{chunked.resume_job('claims')}, q{chunked.alter_job('claims', max_attempts => 2)}, q{chunked.drop_job('claims')})
{
	my $err;
	cmp_ok(elapsed_ms(sub { $err = error("SET lock_timeout = '200ms';\nSELECT $call") }), '<', 5000, "in time: $call");
	like($err, qr/ERROR:  55P03: canceling statement due to lock timeout/, 'and says why');
}
$other->query('ROLLBACK');

# Carving that has to wait is tried again, and so is a chunk whose table is locked.
value("SELECT chunked.create_job('event', '$add', name => 'carved', chunk_size => 100)");
$other->query(q{BEGIN; UPDATE chunked.ledger_carving SET rate = 1 WHERE job = (SELECT id FROM chunked.jobs WHERE name = 'carved')});
my $run = background($node, "SET lock_timeout = '50ms';\nCALL chunked.run_job('carved')");
until_true(q{SELECT workers = 1 FROM chunked.jobs WHERE name = 'carved'});
Time::HiRes::sleep(0.3);
$other->query('COMMIT');
my (undef, $messages) = $run->ended;
like($messages, qr/NOTICE:  00000: job "carved" is done: 10 chunks, 1000 rows/, 'carving is tried again');
value("SELECT chunked.create_job('event', '$add', name => 'table', chunk_size => 500)");
$other->query('BEGIN; LOCK TABLE event');
# planning ahead of the run waits as well, so it is begun by a worker
$run = background($node, "SET statement_timeout = '60ms';\nCALL chunked.run_job('table', workers => 1)");
until_true(q{SELECT workers = 1 FROM chunked.jobs WHERE name = 'table'});
Time::HiRes::sleep(0.5);
$other->query('COMMIT');
(undef, $messages) = $run->ended;
like($messages, qr/NOTICE:  00000: job "table" is done/, 'statement_timeout counts while a table is waited for, and the chunk is tried again');
is(value('SELECT DISTINCT n FROM event'), 2, 'each row once a job');

# A row that another session locks is never a row that fails.
$other->query('BEGIN; UPDATE event SET n = n WHERE id = 500');
$run = background($node, "SET lock_timeout = '20ms';\nCALL chunked.run('event', '$add', name => 'row', chunk_size => 100, max_attempts => 1)");
until_true(q{SELECT max(attempts) >= 2 AND count(*) FILTER (WHERE state <> 'done') = 1 FROM chunked.job_chunks WHERE job = 'row' AND row_count > 0});
is(value(q{SELECT count(*), sum(row_count) FROM chunked.job_chunks WHERE job = 'row' AND state <> 'done'}), '1|1', 'all is done but the locked row');
is(value(q{SELECT DISTINCT error_sqlstate FROM chunked.job_chunks WHERE job = 'row' AND error_sqlstate IS NOT NULL}), '55P03', 'which says why');
$other->query('COMMIT');
(undef, $messages) = $run->ended;
like($messages, qr/NOTICE:  00000: job "row" is done/, 'and then that as well');
is(value('SELECT DISTINCT n FROM event'), 3, 'each row once');

# A pause that is taken away wakes who sleeps.
$run = background($node, "CALL chunked.run('event', '$add', name => 'sleeps', chunk_size => 500, pause => '1 hour')");
until_true(q{SELECT chunks_done = 1 FROM chunked.progress WHERE job = 'sleeps'});
value(q{SELECT chunked.alter_job('sleeps', pause => '0')});
cmp_ok(elapsed_ms(sub { $run->ended }), '<', 10000, 'a pause that is taken away wakes who sleeps');

#
# Workers that deadlock on rows outside of their chunks take turns
#

value(<<'SQL');
CREATE TABLE author (id int PRIMARY KEY, posts bigint NOT NULL DEFAULT 0);
CREATE TABLE post (id int PRIMARY KEY, author int NOT NULL, n int NOT NULL DEFAULT 0);
INSERT INTO author SELECT i FROM generate_series(1, 50) i;
INSERT INTO post SELECT i, 1 + (random() * 49)::int, 0 FROM generate_series(1, 10000) i;
CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN UPDATE author SET posts = posts + 1 WHERE id = NEW.author; RETURN NEW; END$$;
CREATE TRIGGER bump AFTER UPDATE ON post FOR EACH ROW EXECUTE FUNCTION bump();
SQL
my $one = elapsed_ms(sub { value(q{CALL chunked.run('post', 'UPDATE post SET n = n + 1 WHERE {chunk}', name => 'one', chunk_size => 250)}) });
my $four = elapsed_ms(sub { value(q{CALL chunked.run('post', 'UPDATE post SET n = n + 1 WHERE {chunk}', name => 'four', chunk_size => 250, workers => 4)}) });
cmp_ok($four, '<', 10 * $one + 5000, sprintf('%.0f ms by four workers, %.0f by one', $four, $one));
cmp_ok(value(q{SELECT retries FROM chunked.progress WHERE job = 'four'}), '<', 40, 'few retries: ' . value(q{SELECT retries FROM chunked.progress WHERE job = 'four'}));
is(value('SELECT sum(posts), min(n), max(n) FROM author, (SELECT min(n) AS n FROM post UNION SELECT max(n) FROM post) n'), '20000|2|2', 'all of it once');

#
# A ledger of a million chunks
#

value(<<'SQL');
CREATE ROLE plain LOGIN;
CREATE TABLE tiny (id int PRIMARY KEY);
INSERT INTO tiny VALUES (1);
GRANT ALL ON tiny TO plain;
SQL
value(<<'SQL');
SET ROLE plain;
SELECT chunked.create_job('tiny', 'SELECT FROM tiny WHERE {chunk}', name => 'million');
RESET ROLE;
INSERT INTO chunked.ledger_chunks (job, number, upto, row_count, state, rows_affected, started_at, finished_at)
	SELECT j.id, i, '{"id": 1}', 1000, CASE WHEN i = 10 THEN 'failed' ELSE 'done' END, 1000, clock_timestamp(), clock_timestamp()
	FROM generate_series(1, 1000000) i, chunked.ledger_jobs j WHERE j.name = 'million';
UPDATE chunked.ledger_carving SET chunks = 1000000, carved_upto = '{"id": 1}', carved_all = true WHERE job = (SELECT id FROM chunked.jobs WHERE name = 'million');
VACUUM ANALYZE chunked.ledger_chunks;
SQL
my $plain = session($node, undef, $node->connstr('postgres') . ' user=plain');
$plain->query(q{SET client_min_messages = error; CALL chunked.run_job('million')});
my $look = q{SELECT status, chunks_done, chunks_failed, rows_done FROM chunked.progress WHERE job = 'million'};
for my $session ($plain, session($node))
{
	$session->query($look);
	my ($least, $rows) = (1e9);
	for (1 .. 5)
	{
		my $ms = elapsed_ms(sub { $rows = $session->query($look) });
		$least = $ms if $ms < $least;
	}
	is($rows, 'failed|999999|1|999999000', 'progress of a million chunks');
	cmp_ok($least, '<', 100, sprintf('in %.1f ms', $least));
	like($session->query(q{EXPLAIN (COSTS OFF) SELECT * FROM chunked.job_chunks WHERE job = 'million' AND state = 'failed'}), qr/ledger_chunks_open/, 'what failed is found by an index');
}
is($plain->query(q{SELECT chunked.retry_failed('million'); SELECT chunks_done, chunks_failed FROM chunked.progress WHERE job = 'million'}), "1\n999999|0", 'a failed chunk is tried again');
$plain->query(q{SET client_min_messages = error; CALL chunked.run_job('million')});
is($plain->query('SELECT status, chunks_done, rows_done FROM chunked.progress'), 'done|1000000|1000000000', 'and counted once');

# Claims cost the same under another session's snapshot
value(q{CREATE TABLE many (id int PRIMARY KEY); INSERT INTO many SELECT generate_series(1, 8000); ANALYZE many; SELECT chunked.create_job('many', name => 'pairs', chunk_size => 1)});
$other->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM chunked.ledger_chunks');
my $claimer = session($node);
my $pairs = q{DO $$ DECLARE c record; BEGIN FOR i IN 1..1500 LOOP SELECT * INTO c FROM chunked.claim_chunk('pairs'); PERFORM chunked.complete_chunk('pairs', c.number, c.fence); COMMIT; END LOOP; END $$};
my @took;
for (1 .. 5)
{
	push @took, elapsed_ms(sub { $claimer->query($pairs) });
	Time::HiRes::sleep(2.1);
}
cmp_ok($took[4], '<', 3 * $took[0] + 200, 'claims under a held snapshot: ms for 1500 pairs: ' . join(' ', map { sprintf '%.0f', $_ } @took));
$other->query('COMMIT');

$node->stop;
done_testing();
