# Jobs in background workers, and jobs seen and steered from other sessions: what
# a worker takes over from the session, when it begins and when it ends.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use Test::More;

my $node = start_node('workers', 'max_worker_processes = 6', 'dynamic_shared_memory_type = mmap');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE event (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, pid int) WITH (fillfactor = 50);
INSERT INTO event SELECT generate_series(1, 20000);
CREATE TABLE speed (seconds float8 NOT NULL);
INSERT INTO speed VALUES (0);
ANALYZE;
SQL

# job NAME, COLUMNS: of the view jobs
sub job
{
	my ($name, $columns) = @_;
	return value("SELECT $columns FROM chunked.jobs WHERE name = '$name'");
}

sub until_job
{
	my ($name, $condition) = @_;
	until_true("SELECT $condition FROM chunked.jobs WHERE name = '$name'");
	return;
}

my $alive = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_chunked worker'};

# Statements that take as long as the test says: by the clock, or until it opens a gate.
my $paced = q{WITH s AS MATERIALIZED (SELECT pg_sleep(seconds) FROM speed)
	UPDATE event SET n = n + 1, pid = pg_backend_pid() FROM s WHERE {chunk}};
my $gated = q{WITH s AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(1))
	UPDATE event SET n = n + 1, pid = pg_backend_pid() FROM s WHERE {chunk}};
my $gate = session($node);

sub close_gate { $gate->query('SELECT pg_advisory_lock(1)'); return; }
sub open_gate { $gate->query('SELECT pg_advisory_unlock(1)'); return; }

# until_at_gate NUMBER: of workers that wait there
sub until_at_gate
{
	my ($number) = @_;
	until_true("SELECT count(*) = $number FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND objsubid = 1 AND NOT granted");
	return;
}

# create NAME, STATEMENT, OPTIONS: a job over rows that are all as new
sub create
{
	my ($name, $statement, $options) = @_;
	value('UPDATE event SET n = 0, pid = NULL WHERE n <> 0');
	value("SELECT chunked.create_job('event', \$\$$statement\$\$, name => '$name'" . ($options // '') . ')');
	return;
}

sub all_once
{
	my ($what) = @_;
	is(value('SELECT n, count(*) FROM event GROUP BY n'), '1|20000', $what);
	return;
}

#
# Workers do the job
#

value('UPDATE speed SET seconds = 0.02');
my $session = session($node);
$session->query('\set VERBOSITY verbose');
my (undef, $messages) = $session->query("CALL chunked.run('event', \$\$$paced\$\$, name => 'two', chunk_size => 200, workers => 2)");
like($messages, qr/^NOTICE:  00000: job "two" is done: 100 chunks, 20000 rows in [\d.]+ \w+, 0 retries, 0 failed$/m, 'two workers: the summary');
all_once('two workers do it all');
is(value('SELECT count(DISTINCT pid) FROM event'), 2, 'both of them');
is(value('SELECT count(*) FROM event WHERE pid = ' . $session->query('SELECT pg_backend_pid()')), 0, 'and not the caller');

#
# What they take over
#

value(<<'SQL');
CREATE ROLE walker LOGIN;
CREATE ROLE clerk LOGIN;
GRANT walker TO clerk;
ALTER ROLE walker SET my.role_default = 'of the role';
CREATE SCHEMA app AUTHORIZATION walker;
SET ROLE walker;
CREATE TABLE app.item (id int PRIMARY KEY);
INSERT INTO app.item SELECT generate_series(1, 1000);
CREATE TABLE app.seen (who text, logged_in text, style text, zone text, memory text, role_default text, timeout text, path text);
SQL
my $clerk = session($node, undef, $node->connstr('postgres') . ' user=clerk');
$clerk->query($_) for 'SET ROLE walker', 'SET search_path = app, pg_catalog', q{SET DateStyle = 'German, DMY'},
	q{SET TimeZone = 'Asia/Kathmandu'}, q{SET work_mem = '7MB'}, q{SET my.thing = 'a=b, "c" ''d'''}, q{SET lock_timeout = '77s'};
my $record = q{INSERT INTO seen SELECT current_user, session_user, current_setting('DateStyle'), current_setting('TimeZone'),
	current_setting('work_mem'), current_setting('my.role_default'), current_setting('lock_timeout'),
	current_setting('search_path') FROM item WHERE {chunk}};
my $taken = join '|', 'walker', 'walker', 'German, DMY', 'Asia/Kathmandu', '7MB', 'of the role', '77s', 'app, pg_catalog', 1000;

(undef, $messages) = $clerk->query("CALL chunked.run('item', \$\$$record\$\$, name => 'items', workers => 2, chunk_size => 100)");
unlike($messages, qr/ERROR|WARNING/, 'a role has workers that may be set in the session');
is(value('SELECT s.*, count(*) FROM app.seen s GROUP BY 1, 2, 3, 4, 5, 6, 7, 8'), $taken,
	'they log on as the role, with the settings of the session');

value('TRUNCATE app.seen');
$clerk->query("SELECT chunked.create_job('item', \$\$$record\$\$, name => 'items again')");
$clerk->query('SET search_path = public');
(undef, $messages) = $clerk->query("CALL chunked.run_job('items again', workers => 1)");
is(value('SELECT s.*, count(*) FROM app.seen s GROUP BY 1, 2, 3, 4, 5, 6, 7, 8'), $taken, 'and with the search_path of the job');
value('TRUNCATE app.seen');
$clerk->query(q{SET search_path = app, pg_catalog; SET work_mem = '9MB'});
$clerk->query("SELECT chunked.create_job('item', \$\$$record\$\$, name => 'items later'); SELECT chunked.start_job('items later')");
until_job('items later', q{status = 'done'});
is(value('SELECT DISTINCT who, memory FROM app.seen'), 'walker|9MB', 'start_job: likewise');

# A setting that no library has defined is the session's, too.
$clerk->query(q{CREATE TABLE thing (setting text)});
(undef, $messages) = $clerk->query(q{CALL chunked.run('item', $$INSERT INTO thing SELECT current_setting('my.thing') FROM item WHERE {chunk}$$, workers => 1)});
is(value('SELECT setting, count(*) FROM app.thing GROUP BY 1'), q{a=b, "c" 'd'|1000}, 'a custom setting') or diag($messages);

# From 17 on a worker may log on as a role that cannot; before, the session does the work.
value('ALTER ROLE walker NOLOGIN; TRUNCATE app.seen');
my $who = 'INSERT INTO seen (who) SELECT current_user FROM item WHERE {chunk}';
(undef, $messages) = $clerk->query("CALL chunked.run('item', \$\$$who\$\$, name => 'no login', workers => 1, chunk_size => 100)");
if (value('SHOW server_version_num') >= 170000)
{
	unlike($messages, qr/ERROR|WARNING/, 'a role that cannot log on has workers');
}
else
{
	like($messages, qr/^ERROR:  role "walker" may not log on.*^HINT:  Run job "no login" in this session with workers => 0/ms, 'a role that cannot log on has no workers');
	$clerk->query("CALL chunked.run('item', \$\$$who\$\$, name => 'no login', chunk_size => 100)");
}
is(value('SELECT DISTINCT who FROM app.seen'), 'walker', 'and its job runs');
$clerk->quit;

#
# Too few of them
#

(undef, $messages) = $session->query(q{CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', name => 'many', workers => 20)});
like($messages, qr/^WARNING:  53400: only [1-5] of 20 background workers could be started$/m, 'fewer workers than asked for: a warning');
is(job('many', 'status'), 'done', 'and the job is done');

create('held', 'UPDATE event SET n = n + 1 WHERE {chunk}', q{, throttle => 'true'});
$session->query(q{SELECT chunked.start_job('held', workers => 20)});
until_job('held', 'workers > 0');
my $held = value($alive);
is(job('held', 'workers'), $held, 'workers that wait are counted');
create('none', 'UPDATE event SET n = n + 1 WHERE {chunk}');
for my $call (q{CALL chunked.run_job('none', workers => 1)}, q{SELECT chunked.start_job('none')})
{
	(undef, $messages) = $session->query($call);
	like($messages, qr/^ERROR:  53400: could not start a background worker$/m, "no worker left: $call");
}
is(job('none', 'status'), 'ready', 'the job has not begun');
value(q{SELECT chunked.cancel_job('held')});
until_true("SELECT ($alive) = 0");
is(job('held', 'status, workers'), 'cancelled|0', 'cancelled while it waits');
$session->query(q{CALL chunked.run_job('none', workers => 1)});
all_once('workers can be had again');

#
# Calls that are cancelled while their workers start leave no shared memory behind
#

my $segments = q{SELECT count(*) FROM pg_ls_dir('pg_dynshmem')};
my $before = value($segments);
create('cut short', 'UPDATE event SET n = n + 1 WHERE {chunk}', q{, throttle => 'true'});
my $pid = $session->query('SELECT pg_backend_pid()');
for my $ms (1 .. 20)
{
	$session->send(q{CALL chunked.run_job('cut short', workers => 3)});
	$gate->query("SELECT pg_sleep($ms / 1000.0), pg_cancel_backend($pid)");
	# had it not begun
	$gate->query("SELECT pg_sleep(0.05), pg_cancel_backend($pid)");
	$session->receive;
}
until_true("SELECT ($alive) = 0");
is(value($segments), $before, 'calls cut short leave no segment behind');
value(q{SELECT chunked.cancel_job('cut short')});

#
# Whatever the session's isolation level is
#

create('isolated', 'UPDATE event SET n = n + 1 WHERE {chunk}');
value('UPDATE event SET n = 0');
(undef, $messages) = $session->query(q{SET default_transaction_isolation = 'repeatable read'; SET row_security = off; SET pg_chunked.progress_interval = '10 ms'});
(undef, $messages) = $session->query(q{CALL chunked.run_job('isolated', workers => 1)});
like($messages, qr/^NOTICE:  00000: job "isolated" is done/m, 'the caller sees the workers\' progress by fresh snapshots');
$session->query('RESET default_transaction_isolation; RESET row_security; RESET pg_chunked.progress_interval');

#
# A worker's error
#

value('ALTER TABLE event ADD extra int');
create('column', 'UPDATE event SET n = n + 1, pid = extra WHERE {chunk}');
value('ALTER TABLE event DROP extra');
(undef, $messages) = $session->query(q{CALL chunked.run_job('column', workers => 2)});
like($messages, qr/^ERROR:  42703: column "extra" does not exist$/m, 'what ends the workers reaches the caller');
is(job('column', 'status, error_sqlstate, error'), 'ready|42703|column "extra" does not exist', 'and is kept');
is(value(q{SELECT coalesce(sum(attempts), 0) FROM chunked.job_chunks WHERE job = 'column'}), 0, 'it is no failure of a chunk');
value('ALTER TABLE event ADD extra int');
(undef, $messages) = $session->query(q{CALL chunked.run_job('column', workers => 2)});
all_once('once fixed, it goes on');
is(job('column', 'status, error_sqlstate'), 'done|', 'and the error is forgotten');

#
# The caller goes
#

for my $how (qw(pg_cancel_backend pg_terminate_backend))
{
	value('UPDATE speed SET seconds = 1000');
	create($how, $paced, ', chunk_size => 1000');
	my $call = background($node, "CALL chunked.run_job('$how', workers => 2)");
	until_true(q{SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'pg_chunked worker' AND wait_event = 'PgSleep'});
	is(job($how, 'status, workers'), 'running|2', "$how: two at work");
	value("SELECT $how(pid) FROM pg_stat_activity WHERE query LIKE 'CALL chunked.run_job(''$how%'");
	(undef, $messages) = $call->ended;
	like($messages, $how =~ /cancel/ ? qr/ERROR:  57014:/ : qr/FATAL:  57P01:/, 'the call ends');
	until_true("SELECT ($alive) = 0");
	like(job($how, 'status, workers'), qr/^(ready|stopped)\|0$/, 'so do the workers, in the middle of their chunks');
	is(value("SELECT DISTINCT state, attempts, fence FROM chunked.job_chunks WHERE job = '$how'"), 'pending|0|0', 'which are as they were');
	value('UPDATE speed SET seconds = 0');
	$session->query("CALL chunked.run_job('$how', workers => 2)");
	all_once('run_job goes on');
}

#
# start_job in a transaction block, and without a client
#

for my $end (qw(COMMIT ROLLBACK))
{
	create("block $end", $gated, ', chunk_size => 1000');
	close_gate();
	$session->query('BEGIN');
	is($session->query("SELECT chunked.start_job('block $end', workers => 2)"), 2, 'start_job returns how many there are');
	is($session->query("SELECT chunked.create_job('event', \$\$$gated\$\$, name => 'inside $end'); SELECT chunked.start_job('inside $end')"),
		"inside $end\n1", 'for a new job, too');
	until_true(q{SELECT count(*) = 3 FROM pg_stat_activity WHERE backend_type = 'pg_chunked worker' AND wait_event_type = 'Lock'});
	is(value(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted}), 0, 'before the transaction ends nothing begins');
	is(value("SELECT count(*) FROM chunked.job_chunks WHERE job = 'block $end'"), 0, 'nothing at all');
	$session->query($end);
	if ($end eq 'COMMIT')
	{
		until_at_gate(3);
		open_gate();
		until_true(q{SELECT count(*) = 2 FROM chunked.jobs WHERE name LIKE '% COMMIT' AND status = 'done'});
		is(value('SELECT n, count(*) FROM event GROUP BY n'), '2|20000', 'when it commits, both are done');
	}
	else
	{
		open_gate();
		until_true("SELECT ($alive) = 0");
		is(job("block $end", 'status'), 'ready', 'when it is rolled back, nothing has begun');
		is(value('SELECT max(n) FROM event'), 0, 'no row was changed');
		is(value("SELECT count(*) FROM chunked.jobs WHERE name = 'inside $end'"), 0, 'the job that it created is not there');
	}
}

create('alone', $gated, ', chunk_size => 1000');
close_gate();
background($node, q{SELECT chunked.start_job('alone', workers => 2)})->ended;
until_at_gate(2);
open_gate();
until_job('alone', q{status = 'done'});
all_once('workers go on when the client has gone');

#
# Steered from another session: after the chunks in hand
#

# The gate is closed, two workers wait there, each with a chunk in hand.
sub start_gated
{
	my ($name) = @_;
	create($name, $gated, ', chunk_size => 100');
	close_gate();
	value("SELECT chunked.start_job('$name', workers => 2)");
	until_at_gate(2);
	return;
}

sub done
{
	my ($name) = @_;
	return value("SELECT count(*) FROM chunked.job_chunks WHERE job = '$name' AND state = 'done'");
}

start_gated('steered');
is(job('steered', 'status, workers'), 'running|2', 'jobs: running');
is(value(q{SELECT status, workers, chunks_done, rows_done, rows_total BETWEEN 15000 AND 25000 FROM chunked.progress WHERE job = 'steered'}), 'running|2|0|0|t', 'progress: running');
(undef, $messages) = $session->query(q{SELECT chunked.drop_job('steered')});
like($messages, qr/^ERROR:  55006: job "steered" is running$/m, 'drop_job: it is running');
value(q{SELECT chunked.pause_job('steered')});
is(job('steered', 'status, workers'), 'running|2', 'pause_job: the chunks in hand are worked on');
open_gate();
until_true("SELECT ($alive) = 0");
is(job('steered', 'status, workers'), 'paused|0', 'and then it is paused');
is(done('steered'), 2, 'after these');
is(value('SELECT sum(n) FROM event'), 200, 'and their rows');

value(q{SELECT chunked.alter_job('steered', chunk_size => 700, pause => '1 ms')});
$session->query(q{CALL chunked.run_job('steered')});
all_once('run_job goes on after a pause');
is(job('steered', 'status, chunk_size'), 'done|700', 'alter_job: another chunk size');
is(value(q{SELECT max(row_count), min(row_count) FROM chunked.job_chunks WHERE job = 'steered'}), '700|100', 'of the chunks that were carved since');

start_gated('altered');
value(q{SELECT chunked.alter_job('altered', throttle => 'true', chunk_size => 700)});
open_gate();
until_job('altered', q{waiting = 'throttle'});
is(job('altered', 'status, workers'), 'running|2', 'alter_job while it runs: a throttle');
is(done('altered'), 2, 'that holds it after the chunks in hand');
value(q{SELECT chunked.alter_job('altered', throttle => '')});
until_job('altered', q{status = 'done'});
all_once('and lets it go when it is turned off');
is(value(q{SELECT max(row_count), min(row_count) FROM chunked.job_chunks WHERE job = 'altered'}), '700|100', 'a chunk size, for the chunks that are carved from then on');

start_gated('cancelled');
value(q{SELECT chunked.cancel_job('cancelled')});
open_gate();
until_true("SELECT ($alive) = 0");
is(job('cancelled', 'status, workers'), 'cancelled|0', 'cancel_job');
is(done('cancelled'), 2, 'after the chunks in hand');
is(value('SELECT sum(n) FROM event'), 200, 'which stay done');
(undef, $messages) = $session->query(q{CALL chunked.run_job('cancelled', workers => 1)});
like($messages, qr/^ERROR:  55000: job "cancelled" was cancelled$/m, 'for good');
value(q{SELECT chunked.drop_job('cancelled')});
is(value(q{SELECT (SELECT count(*) FROM chunked.jobs WHERE name = 'cancelled') + (SELECT count(*) FROM chunked.job_chunks WHERE job = 'cancelled')}), 0,
	'drop_job, when nobody runs it');

#
# A client that dies
#

value('UPDATE speed SET seconds = 0.1');
for my $workers (0, 2)
{
	my $name = "client $workers";

	create($name, $paced, ', chunk_size => 20');
	my $client = background($node, "SET pg_chunked.progress_interval = '50ms';\nCALL chunked.run_job('$name', workers => $workers)");
	until_true("SELECT chunks_done > 3 FROM chunked.progress WHERE job = '$name'");
	is(job($name, 'status, workers'), 'running|' . ($workers || 1), "$workers workers: running");
	$client->killed;
	until_job($name, 'workers = 0');
	is(job($name, 'status'), 'stopped', 'and stopped when its client is dead');
	cmp_ok(done($name), '<', 1000, 'long before its end');
	$client->ended;
}
value('UPDATE speed SET seconds = 0');
$session->query(q{CALL chunked.run_job('client 2')});
all_once('run_job goes on');

#
# Progress
#

value('UPDATE speed SET seconds = 0.05');
value(q{SELECT count(chunked.drop_job(name)) FROM chunked.jobs WHERE name LIKE 'client %'});
my $line = qr/^NOTICE:  00000: (?:\xe2\x96\x88|\xe2\x96\x91|[#.]){10} +\d+%  \S+\/\S+ rows/m;
for my $workers (0, 2)
{
	for my $interval ('100ms', '0')
	{
		value('UPDATE event SET n = 0');
		(undef, $messages) = $session->query("SET pg_chunked.progress_interval = '$interval'; CALL chunked.run('event', \$\$$paced\$\$, chunk_size => 1000, workers => $workers)");
		my $lines = () = $messages =~ /$line/g;
		if ($interval eq '0')
		{
			is($lines, 0, "$workers workers, no progress_interval: no line");
		}
		else
		{
			cmp_ok($lines, '>=', 2, "$workers workers: $lines lines of progress");
		}
		like($messages, qr/^NOTICE:  00000: job "event-\d+" is done: 20 chunks, 20000 rows in [\d.]+ \w+, 0 retries, 0 failed$/m, 'and a summary');
	}
}

$_->quit for $session, $gate;
$node->stop;
done_testing();
