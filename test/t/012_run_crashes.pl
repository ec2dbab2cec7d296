# A job does every row exactly once, whatever dies meanwhile: workers, the calling
# session, the server; whoever writes to the table meanwhile; whatever the
# session's isolation level is; and when a check is put off to the commit.  And all
# of that at once: rounds of torture, see Torture.pm.
#
# CHUNKED_TORTURE=50	so many rounds instead of a few, and nothing else; 4 s or so each
# CHUNKED_SEED=n		repeats what was drawn; each round prints its own, which repeats
#			it with CHUNKED_TORTURE=1, as far as time allows

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use List::Util qw(shuffle);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();
use Torture;

my $ROWS = 30_000;
my $ROUNDS = 4;

my $seed = $ENV{CHUNKED_SEED} // int(rand(1_000_000));
srand($seed);
note("CHUNKED_SEED=$seed");

my $node = start_node('crashes', 'fsync = on', 'restart_after_crash = on', 'max_worker_processes = 16', 'deadlock_timeout = 100ms',
	"log_line_prefix = '%m [%p] %e '");

#
# Torture
#

torture_prepare($node);
for my $round (1 .. $ENV{CHUNKED_TORTURE} // $ROUNDS)
{
	torture_round($seed + $round - 1);
}
if ($ENV{CHUNKED_TORTURE})
{
	$node->stop;
	done_testing();
	exit;
}
srand($seed);

$node->safe_psql('postgres', <<SQL);
CREATE TABLE event (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 50);
INSERT INTO event SELECT i * 3 FROM generate_series(1, $ROWS) i;
CREATE TABLE audit (id bigint NOT NULL, pid int NOT NULL, slept boolean);
ANALYZE;
SQL

#
# Four deaths
#

# A chunk takes some 75 ms, and pauses between its rows, so that a kill finds
# some of them changed and some not.
value(<<'SQL');
SELECT chunked.create_job('event', $$
	WITH done AS (UPDATE event SET n = n + 1 WHERE {chunk} RETURNING id)
	INSERT INTO audit SELECT id, pg_backend_pid(), CASE WHEN id % 100 = 0 THEN pg_sleep(0.03) IS NULL END FROM done
$$, name => 'once', chunk_size => 250);
SQL

my $caller;

# run_again CALLED: by a session that waits, or by workers alone
sub run_again
{
	my ($called) = @_;

	if ($called)
	{
		$caller = background($node, q{CALL chunked.run_job('once', workers => 4)});
		until_true(q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'CALL chunked.run_job%'}, 'the call');
	}
	else
	{
		value(q{SELECT chunked.start_job('once', workers => 4)});
	}
	until_true(q{SELECT workers > 0 OR status = 'done' FROM chunked.jobs WHERE name = 'once'}, 'a worker');
	return;
}

sub caller_ended
{
	$caller->ended if $caller;
	undef $caller;
	return;
}

# crashes: of the server so far, by its log
sub crashes
{
	my $crashes = () = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g;
	return $crashes;
}

# victim CONDITION: the process id of a session that satisfies it
sub victim
{
	my ($condition) = @_;
	my @pids = split /\n/, value("SELECT pid FROM pg_stat_activity WHERE $condition");
	return $pids[ int(rand(@pids)) ];
}

my $worker = q{backend_type = 'pg_chunked worker'};
my %deaths = (
	'a worker is terminated' => sub {
		my $pid = victim($worker) // return 0;
		return value("SELECT pg_terminate_backend($pid, 60000)") eq 't';
	},
	'the caller is terminated' => sub {
		my $pid = victim(q{query LIKE 'CALL chunked.run_job%' AND backend_type = 'client backend'}) // return 0;
		value("SELECT pg_terminate_backend($pid, 60000)");
		caller_ended();
		until_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE $worker", 'the end of its workers');
		return 1;
	},
	'a worker is killed' => sub {
		my $pid = victim($worker) // return 0;
		my $crashes = crashes();

		kill('KILL', $pid);
		for (1 .. 1800)
		{
			last if crashes() > $crashes;
			Time::HiRes::sleep(0.1);
		}
		caller_ended();
		until_true('SELECT true', 'the restart after a crash');
		return 1;
	},
	'the server is stopped at once' => sub {
		$node->stop('immediate');
		caller_ended();
		$node->start;
		return 1;
	},
);
my @events = shuffle(sort keys %deaths);

for my $event (@events)
{
	my $called = $event eq 'the caller is terminated' || rand() < 0.5;

	# Some chunks after the last one: whoever is hit has been at work.
	my $mark = value(q{SELECT chunks_done FROM chunked.progress WHERE job = 'once'}) + 3 + int(rand(12));

	run_again($called);
	until_true("SELECT chunks_done >= $mark FROM chunked.progress WHERE job = 'once'", "chunk $mark");
	my $hit = $deaths{$event}->();
	my ($audited, $recorded, $status) = split /\|/, value(<<'SQL');
SELECT (SELECT count(*) FROM audit),
       (SELECT coalesce(sum(rows_affected), 0) FROM chunked.job_chunks WHERE job = 'once' AND state = 'done'),
       (SELECT status FROM chunked.jobs WHERE name = 'once')
SQL
	ok($hit, "$event, at $audited rows");
	is($recorded, $audited, 'the ledger says what is done');
	like($status, $event eq 'a worker is terminated' ? qr/^(running|stopped|done)$/ : qr/^(stopped|done)$/, 'and whether somebody is working on it');

	# The others went on: the next round begins afresh.
	if ($event eq 'a worker is terminated')
	{
		value($caller ? q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL chunked.run_job%'}
			: "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE $worker");
		caller_ended();
		until_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE $worker", 'the end of all workers');
	}
}

my (undef, $messages) = background($node, q{CALL chunked.run_job('once', workers => 4)})->ended;
like($messages, qr/job "once" is done: \d+ chunks, $ROWS rows/, 'the last call says that the job is done');
until_true(q{SELECT workers = 0 FROM chunked.jobs WHERE name = 'once'}, 'the end of all workers');
is(value(q{SELECT status FROM chunked.jobs WHERE name = 'once'}), 'done', 'the job is done');
is(value('SELECT n, count(*) FROM event GROUP BY n'), "1|$ROWS", 'every row was changed exactly once');
is(value('SELECT count(*), count(DISTINCT id), min(id), max(id) FROM audit'),
	join('|', $ROWS, $ROWS, 3, 3 * $ROWS), 'and has one row in the audit');
cmp_ok(value('SELECT count(DISTINCT pid) FROM audit'), '>=', 8, 'by many workers');
is(value(q{SELECT state, sum(row_count), sum(rows_affected) FROM chunked.job_chunks WHERE job = 'once' GROUP BY state}),
	"done|$ROWS|$ROWS", 'the chunks of the ledger are all done');
is(value(<<'SQL'), join('|', 0, 0, 3 * $ROWS), 'they follow each other without gap or overlap, and hold the rows that they say');
SELECT count(*) FILTER (WHERE c.after IS DISTINCT FROM c.before),
       count(*) FILTER (WHERE c.row_count <> (SELECT count(*) FROM event e
                                              WHERE e.id > coalesce((c.after->>'id')::bigint, 0)
                                                AND e.id <= (c.upto->>'id')::bigint)),
       max((c.upto->>'id')::bigint)
FROM (SELECT *, lag(upto) OVER (ORDER BY (upto->>'id')::bigint) AS before
      FROM chunked.job_chunks WHERE job = 'once') c
SQL

#
# Writers at the same time
#

# Rows marked "kept" stay as they are; others are deleted, or get another key.
value(<<'SQL');
CREATE TABLE busy (id bigint PRIMARY KEY, kind text NOT NULL, n int NOT NULL DEFAULT 0) WITH (fillfactor = 50);
INSERT INTO busy SELECT i * 10, CASE WHEN i % 5 < 3 THEN 'kept' WHEN i % 5 = 3 THEN 'deleted' ELSE 'moved' END
FROM generate_series(1, 30000) i;
ANALYZE busy;
SELECT chunked.create_job('busy', $$
	WITH s AS MATERIALIZED (SELECT pg_sleep(0.03)) UPDATE busy SET n = n + 1 FROM s WHERE {chunk}
$$, name => 'busy', chunk_size => 200);
SELECT chunked.start_job('busy', workers => 2);
SQL

my $writer = session($node);
my $rounds = 0;
while ($writer->query(q{SELECT status FROM chunked.jobs WHERE name = 'busy'}) eq 'running' && $rounds < 5000)
{
	my $from = int(rand(300_000));

	$rounds++;
	for my $sql (
		"INSERT INTO busy SELECT $from + i * 10 + $from % 7 + 1, 'new' FROM generate_series(1, 50) i
		 WHERE $from + i * 10 < 299980 ON CONFLICT DO NOTHING",
		"INSERT INTO busy SELECT 300000 + 100 * $rounds + i, 'above' FROM generate_series(1, 50) i",
		"DELETE FROM busy WHERE kind = 'deleted' AND id BETWEEN $from AND $from + 1000",
		"UPDATE busy SET id = (id * 7919) % 300000 / 10 * 10 + 9 WHERE id = (SELECT id FROM busy b
		 WHERE kind = 'moved' AND id >= $from AND NOT EXISTS (SELECT FROM busy o WHERE o.id = (b.id * 7919) % 300000 / 10 * 10 + 9)
		 ORDER BY id LIMIT 1)")
	{
		(undef, my $error) = $writer->query($sql);
		die "$sql: $error" if $error =~ /ERROR/ && $error !~ /deadlock detected/;
	}
}
$writer->quit;
cmp_ok($rounds, '>=', 5, "another session wrote meanwhile, $rounds times");
is(value(q{SELECT status FROM chunked.jobs WHERE name = 'busy'}), 'done', 'and the job came to its end');
is(value(q{SELECT n, count(*) FROM busy WHERE kind = 'kept' GROUP BY n}), '1|18000', 'every row that stayed was changed exactly once');
is(value(q{SELECT count(*) FROM busy WHERE n > 1 AND kind <> 'moved'}), 0, 'no row whose key is its first was changed twice');
is(value(q{SELECT max(n), count(*) = 50 * } . $rounds . q{ FROM busy WHERE kind = 'above'}), '0|t', 'nothing above the high-water mark was changed');

#
# Isolation levels
#

value(<<'SQL');
CREATE TABLE level (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO level SELECT generate_series(1, 10000);
ANALYZE level;
SQL
for my $level ('repeatable read', 'serializable')
{
	my $set = "SET default_transaction_isolation = '$level'";
	my $job = "level-$level";

	value(qq{UPDATE level SET n = 0; SELECT chunked.create_job('level', 'UPDATE level SET n = n + 1 WHERE {chunk}', name => '$job', chunk_size => 50)});

	# Three sessions at the same job are in each other's way as far as can be.
	my @calls = map { background($node, "$set;\nCALL chunked.run_job('$job'" . ($_ ? '' : ', workers => 2') . ')') } 0 .. 2;
	my $errors = join '', map { ($_->ended)[1] } @calls;
	unlike($errors, qr/ERROR|FATAL|WARNING/, "$level: three sessions at a job, without an error");
	is(value(qq{SELECT status FROM chunked.jobs WHERE name = '$job'}), 'done', "$level: done");
	is(value('SELECT n, count(*) FROM level GROUP BY n'), '1|10000', "$level: each row once");
}

#
# Checks at the commit
#

value(<<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 7777 THEN
		RAISE EXCEPTION 'row % is refused', NEW.id USING ERRCODE = '23514';
	END IF;
	RETURN NULL;
END $$;
UPDATE level SET n = 0;
CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON level DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
SQL
for my $workers (0, 2)
{
	value('ALTER TABLE level DISABLE TRIGGER refuse; UPDATE level SET n = 0; ALTER TABLE level ENABLE TRIGGER refuse');
	(undef, $messages) = background($node, <<SQL)->ended;
CALL chunked.run('level', 'UPDATE level SET n = n + 1 WHERE {chunk}', name => 'deferred-$workers', workers => $workers,
                 max_attempts => 2, on_error => 'continue')
SQL
	unlike($messages, qr/ERROR/, "deferred trigger, workers => $workers: no error");
	is(value(qq{SELECT failed_key, error_sqlstate, error, row_count FROM chunked.job_chunks WHERE job = 'deferred-$workers' AND state <> 'done'}),
		'{"id": "7777"}|23514|row 7777 is refused|1', 'the row that it refuses is found');
	is(value('SELECT n, count(*), max(id) FROM level GROUP BY n ORDER BY n'), "0|1|7777\n1|9999|10000", 'and all others are done once');
}

$node->stop;
done_testing();
