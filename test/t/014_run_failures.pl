# What a job does when something fails or is to be waited for: rows that fail,
# others in the way, timeouts, throttles, standbys that lag; and chunks sized by time.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('failures');
$node->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\n");
$node->start;
use_node($node);
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_chunked;
CREATE TABLE event (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, divisor int NOT NULL DEFAULT 1) WITH (fillfactor = 50);
INSERT INTO event SELECT generate_series(1, 100000);
CREATE TABLE small (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO small SELECT generate_series(1, 4000);
ANALYZE;
SQL

# progress NAME, COLUMNS: of the view progress
sub progress
{
	my ($name, $columns) = @_;
	return value("SELECT $columns FROM chunked.progress WHERE job = '$name'");
}

sub until_progress
{
	my ($name, $condition) = @_;
	until_true("SELECT $condition FROM chunked.progress WHERE job = '$name'");
	return;
}

# call SQL, SETTINGS: its messages, with SQLSTATEs
sub call
{
	my ($sql, $settings) = @_;
	return (background($node, join(";\n", $settings // (), $sql))->ended)[1];
}

#
# Rows that fail
#

my @bad = (1, 777, 778, 12_345, 50_000, 50_999, 100_000);
my $divide = 'UPDATE event SET n = n + 1 / divisor WHERE {chunk}';
value('UPDATE event SET divisor = 0 WHERE id IN (' . join(', ', @bad) . ')');

my $messages = call("CALL chunked.run('event', '$divide', name => 'poison', workers => 2, on_error => 'continue')");
like($messages, qr/^WARNING:  01000: job "poison" is done, with failed chunks: \d+ chunks, 99993 rows in \S+ \S+, \d+ retries, 7 failed$/m,
	'on_error = continue: the summary counts what failed');
is(value(q{SELECT failed_key->>'id', row_count, error_sqlstate, error FROM chunked.job_chunks WHERE job = 'poison' AND state = 'failed' ORDER BY (failed_key->>'id')::int}),
	join("\n", map { "$_|1|22012|division by zero" } @bad), 'exactly the rows that fail are found');
is(value('SELECT n, count(*), count(*) FILTER (WHERE divisor = 0) FROM event GROUP BY n ORDER BY n'), "0|7|7\n1|99993|0", 'all others are done');
is(progress('poison', 'status, chunks_failed, rows_done'), 'failed|7|99993', 'which shows');
cmp_ok(progress('poison', 'retries'), '<=', 7 * 24, 'attempts that failed: ' . progress('poison', 'retries'));
cmp_ok(progress('poison', 'retries'), '>=', 7 * 5, 'each row had its attempts');

# Without a fix nothing changes.
value(q{SELECT chunked.retry_failed('poison')});
$messages = call(q{CALL chunked.run_job('poison')});
like($messages, qr/^WARNING: .* 7 failed$/m, 'tried again in vain');
value('UPDATE event SET divisor = 1 WHERE divisor = 0');
is(value(q{SELECT chunked.retry_failed('poison')}), 7, 'retry_failed returns how many there are');
$messages = call(q{CALL chunked.run_job('poison')});
like($messages, qr/^NOTICE:  00000: job "poison" is done: .* 0 failed$/m, 'once fixed, the job is done');
is(progress('poison', 'status, rows_done, rows_affected, fraction'), 'done|100000|100000|1', 'which shows, too');
is(value('SELECT n, count(*) FROM event GROUP BY n'), '1|100000', 'each row once');

for my $workers (0, 2)
{
	my $name = "stop $workers";

	value('UPDATE event SET n = 0, divisor = CASE WHEN id IN (3, 2500) THEN 0 ELSE 1 END WHERE id <= 5000');
	value(q{DELETE FROM event WHERE id > 5000});
	$messages = call("CALL chunked.run('event', '$divide', name => '$name', workers => $workers, max_attempts => 2)");
	like($messages, qr/^ERROR:  22012: job "$name" stopped at a row that fails: division by zero\nDETAIL:  Chunk \d+, position \{"id": "(3|2500)"\}/m,
		"on_error = stop, $workers workers: the row's SQLSTATE");
	is(progress($name, 'status, workers'), 'failed|0', 'the job stands still');
	is(value('SELECT sum(n) FROM event'), progress($name, 'rows_done'), 'what was done before is committed');
	value('UPDATE event SET divisor = 1 WHERE divisor = 0');
	value("SELECT chunked.retry_failed('$name')");
	call("CALL chunked.run_job('$name', workers => $workers)");
	is(value('SELECT n, count(*) FROM event GROUP BY n'), '1|5000', 'once fixed, it goes on');
}

#
# Others in the way
#

my $add = 'UPDATE small SET n = n + 1 WHERE {chunk}';
my $other = session($node);

# small_once WHAT: each row was changed once; from here on they are as new
sub small_once
{
	my ($what) = @_;
	is(value('SELECT n, count(*) FROM small GROUP BY n'), '1|4000', $what);
	value('UPDATE small SET n = 0');
	return;
}

for my $workers (0, 2)
{
	my $name = "locked $workers";

	$other->query('BEGIN; UPDATE small SET n = n WHERE id = 1500');
	my $call = background($node, "SET lock_timeout = '50ms';\nCALL chunked.run('small', '$add', name => '$name', workers => $workers, max_attempts => 20)");
	until_true("SELECT min(row_count) <= 250 FROM chunked.job_chunks WHERE job = '$name' AND state = 'pending' AND error_sqlstate = '55P03'");
	until_true("SELECT sum(row_count) >= 3500 FROM chunked.job_chunks WHERE job = '$name' AND state = 'done'");
	is(progress($name, 'status, chunks_failed'), 'running|0', "a row is locked, $workers workers: its chunk is halved, and the rest is done meanwhile");
	# in one statement, for the job goes on
	is(value("SELECT (SELECT count(*) FROM small WHERE n = 1) - rows_done FROM chunked.progress WHERE job = '$name'"), 0, 'as the ledger says') if $workers == 0;
	until_progress($name, q{waiting ~ '^the next attempt at chunk [0-9]+: canceling statement due to lock timeout$'});
	$other->query('ROLLBACK');
	(undef, $messages) = $call->ended;
	like($messages, qr/^NOTICE:  00000: job "$name" is done: \d+ chunks, 4000 rows in \S+ \S+, [1-9]\d* retries, 0 failed$/m, 'it is done when the lock is gone');
	small_once('each row once');
}

# The runner waits for the other, looks for a deadlock only after that one has
# closed the ring, and is its victim.
$other->query(q{SET deadlock_timeout = '180s'; BEGIN; UPDATE small SET n = n WHERE id = 900});
my $call = background($node, "SET deadlock_timeout = '3s';\nCALL chunked.run('small', '$add', name => 'deadlock')");
until_true(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'});
(undef, my $error) = $other->query('UPDATE small SET n = n WHERE id = 100');
is($error, '', 'a deadlock, in which the other session wins');
$other->query('ROLLBACK');
(undef, $messages) = $call->ended;
like($messages, qr/^NOTICE:  00000: job "deadlock" is done: .* 0 failed$/m, 'does not end the job');
cmp_ok(progress('deadlock', 'retries'), '>=', 1, 'but its attempt');
cmp_ok(progress('deadlock', 'chunks_done'), '>', 4, 'and the chunk is halved');
small_once('each row once');
$other->quit;

# As others' triggers and functions raise them: a sequence counts, since a rollback does not undo it.
value(<<'SQL');
CREATE SEQUENCE tries;
CREATE FUNCTION trip() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 2500 AND nextval('tries') <= 3 THEN
		RAISE EXCEPTION 'in each other''s way' USING ERRCODE = TG_ARGV[0];
	END IF;
	RETURN NULL;
END $$;
SQL
for my $state (qw(40001 40P01 55P03))
{
	value("ALTER SEQUENCE tries RESTART; CREATE CONSTRAINT TRIGGER trip AFTER UPDATE ON small INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trip('$state')");
	$messages = call("CALL chunked.run('small', '$add', name => 'trip $state', max_attempts => 2)");
	like($messages, qr/^NOTICE:  00000: job "trip $state" is done: 7 chunks, 4000 rows in \S+ \S+, 3 retries, 0 failed$/m, "$state is tried again, on half as much");
	is(value("SELECT string_agg(row_count::text, ' ' ORDER BY row_count) FROM chunked.job_chunks WHERE job = 'trip $state'"),
		'125 125 250 500 1000 1000 1000', 'three times over');
	value('DROP TRIGGER trip ON small');
	small_once("$state: each row once");
}

#
# Timeouts
#

# Ten chunks of 0.2 s each, one after the other, are not one statement of 2 s.
my $slow = 'WITH s AS MATERIALIZED (SELECT pg_sleep(0.2)) UPDATE small SET n = n + 1 FROM s WHERE {chunk}';
for my $workers (0, 2)
{
	my $name = "timeout $workers";

	$messages = call("CALL chunked.run('small', '$slow', name => '$name', chunk_size => " . ($workers ? 200 : 400) . ", workers => $workers)",
		q{SET statement_timeout = '1200ms'});
	unlike($messages, qr/ERROR/, "statement_timeout, $workers workers: for a chunk, not for the call");
	is(progress($name, 'status'), 'done', 'which is done');
	cmp_ok(value("SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM chunked.job_chunks WHERE job = '$name'"), '>', 1.2, 'after longer than that');
	call("CALL chunked.run_job('$name')");
	small_once('each row once');
}

# The first thousand rows take too long, half of them do not.
$messages = call(q{CALL chunked.run('small', $$
	WITH s AS MATERIALIZED (SELECT pg_sleep(0.001 * count(*)) FROM small WHERE id <= 1000 AND {chunk})
	UPDATE small SET n = n + 1 FROM s WHERE {chunk}$$, name => 'too long')}, q{SET statement_timeout = '800ms'});
like($messages, qr/^NOTICE:  00000: job "too long" is done: .* 0 failed$/m, 'a chunk that takes longer than statement_timeout is halved');
cmp_ok(progress('too long', 'chunks_done'), '>=', 5, 'into chunks that do not');
cmp_ok(progress('too long', 'retries'), '>=', 1, 'after one attempt');
small_once('each row once');

#
# Throttles
#

value('CREATE TABLE brake (x int)');
value('INSERT INTO brake VALUES (1)');
my $throttle = q{, throttle => '(SELECT 10 / x > 3 FROM brake)'};

$call = background($node, "CALL chunked.run('small', '$add', name => 'throttled'$throttle)");
until_progress('throttled', q{waiting = 'throttle'});
is(progress('throttled', 'status, workers, chunks_done'), 'running|1|0', 'a throttle that is true holds the job');
like(progress('throttled', 'line'), qr/  waiting: throttle$/, 'which the line of progress shows');
value('UPDATE brake SET x = 0');
until_progress('throttled', q{waiting = 'throttle fails: division by zero'});
is(progress('throttled', 'status, chunks_done'), 'running|0', 'so does one that fails');
value('UPDATE brake SET x = 10');
(undef, $messages) = $call->ended;
like($messages, qr/^NOTICE:  00000: job "throttled" is done: 4 chunks, 4000 rows .* 0 retries, 0 failed$/m, 'one that is false does not');
is(progress('throttled', 'status, waiting'), 'done|', 'and is not waited for');
small_once('each row once');

for my $change ('UPDATE brake SET x = NULL', 'DELETE FROM brake')
{
	value($change);
	call("CALL chunked.run('small', '$add'$throttle)");
	small_once("null holds nothing: $change");
}

# In the middle
value('INSERT INTO brake VALUES (10)');
$call = background($node, "CALL chunked.run('small', '$slow', name => 'braked', chunk_size => 200, workers => 2$throttle)");
until_progress('braked', 'chunks_done >= 2');
value('UPDATE brake SET x = 1');
until_true(q{SELECT p.waiting = 'throttle' AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep') FROM chunked.progress p WHERE job = 'braked'});
my $done = progress('braked', 'chunks_done');
cmp_ok($done, '<', 20, "held after $done of 20 chunks");
until_true(q{SELECT pg_sleep(1.2) IS NOT NULL});
is(progress('braked', 'chunks_done, waiting'), "$done|throttle", 'for as long as it is true');
value('UPDATE brake SET x = 10');
(undef, $messages) = $call->ended;
like($messages, qr/^NOTICE:  00000: job "braked" is done/m, 'and then on to the end');
small_once('each row once');

# A pause between two chunks
$call = background($node, "CALL chunked.run('small', '$add', name => 'pause', chunk_size => 2000, pause => '2 s')");
until_progress('pause', q{waiting = 'pause'});
pass('a pause shows');
$call->ended;
is(value(q{SELECT count(*), min(gap) >= interval '2 s' FROM (SELECT started_at - lag(finished_at) OVER (ORDER BY number) AS gap
	FROM chunked.job_chunks WHERE job = 'pause') g}), '2|t', 'between the chunks');
small_once('each row once');

#
# A standby that lags
#

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('lagging');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', "wal_receiver_status_interval = 1s\n");
$standby->start;
$node->wait_for_catchup($standby);

$messages = call(q{CALL chunked.run('small', 'UPDATE small SET n = n + 1 WHERE {chunk}', name => 'near', max_lag => '10 min')});
like($messages, qr/^NOTICE:  00000: job "near" is done/m, 'max_lag, with a standby that does not lag');
small_once('each row once');

$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
value('INSERT INTO brake SELECT generate_series(1, 1000)');
until_true(q{SELECT max(replay_lag) > interval '1 s' FROM pg_stat_replication});
$call = background($node, "CALL chunked.run('small', '$add', name => 'far', max_lag => '1 s', workers => 2)");
until_progress('far', q{waiting ~ 'lags more than 1000 ms'});
is(progress('far', 'status, workers, chunks_done'), 'running|2|0', 'a standby that lags holds the job: ' . progress('far', 'waiting'));
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
(undef, $messages) = $call->ended;
like($messages, qr/^NOTICE:  00000: job "far" is done: 4 chunks, 4000 rows/m, 'until it has caught up');
small_once('each row once');

value('CREATE ROLE plain LOGIN; CREATE TABLE of_plain (id int PRIMARY KEY); INSERT INTO of_plain VALUES (1); ALTER TABLE of_plain OWNER TO plain');
for my $sql (q{SELECT chunked.create_job('of_plain', 'DELETE FROM of_plain WHERE {chunk}', max_lag => '1 s')},
	q{SELECT chunked.create_job('of_plain', 'DELETE FROM of_plain WHERE {chunk}', name => 'later'); SELECT chunked.alter_job('later', max_lag => '1 s')})
{
	like(call($sql, 'SET ROLE plain'), qr/^ERROR:  42501: max_lag needs the privileges of role pg_monitor$/m, 'max_lag is for those who can see it');
}
value('GRANT pg_monitor TO plain');
(undef, $messages) = background($node, q{CALL chunked.run('of_plain', 'DELETE FROM of_plain WHERE {chunk}', max_lag => '10 min')},
	undef, $node->connstr('postgres') . ' user=plain')->ended;
like($messages, qr/^NOTICE:  00000: job "of_plain-1" is done/m, 'such as members of pg_monitor');
$standby->stop;

#
# Chunks sized by time
#

# A row takes 0.1 ms in the first part, and ten times that in the second.
value(<<'SQL');
CREATE TABLE cost (id int PRIMARY KEY, seconds float8 NOT NULL);
INSERT INTO cost SELECT i, CASE WHEN i <= 11000 THEN 0.0001 ELSE 0.001 END FROM generate_series(1, 18000) i;
ANALYZE cost;
SQL
call(q{CALL chunked.run('cost', 'SELECT pg_sleep(sum(seconds)) FROM cost WHERE {chunk}', name => 'timed', chunk_size => 500, target_time => '200 ms')});

# took PART: [milliseconds, rows] of each chunk that lies in this part, except the last one
sub took
{
	my ($condition) = @_;
	my @chunks = map { [ split /\|/ ] } split /\n/, value(<<SQL);
SELECT extract(epoch FROM finished_at - started_at) * 1000, row_count FROM chunked.job_chunks
WHERE job = 'timed' AND $condition ORDER BY number
SQL
	pop @chunks;
	return @chunks;
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[ @sorted / 2 ];
}

my @cheap = took(q{(upto->>'id')::int <= 11000});
my @dear = took(q{(after->>'id')::int >= 11000});
note("rows: @{[ map { $_->[1] } @cheap ]}, then @{[ map { $_->[1] } @dear ]}");
note("ms: @{[ map { int($_->[0]) } @cheap ]}, then @{[ map { int($_->[0]) } @dear ]}");
is($cheap[0][1], 500, 'target_time: the first chunk has chunk_size rows');
my $before = median(map { $_->[0] } @cheap[ 3 .. $#cheap ]);
cmp_ok($before, '>', 140, "the others come near: $before ms");
cmp_ok($before, '<', 260, 'and not over it');
cmp_ok(scalar @dear, '>=', 12, 'rows become ten times dearer');
my $after = median(map { $_->[0] } @dear[ 10 .. $#dear ]);
cmp_ok($after, '>', 140, "ten chunks later they come near again: $after ms");
cmp_ok($after, '<', 260, 'and not over it');
cmp_ok(median(map { $_->[1] } @dear[ 10 .. $#dear ]) * 4, '<', median(map { $_->[1] } @cheap[ 3 .. $#cheap ]), 'by fewer rows');

$node->stop;
done_testing();
