# Claims of workers outside the server that do not last as they think: rolled back,
# lost by a crash or a failover; and chunks that are read on a standby that lags.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$primary->append_conf('postgresql.conf', "autovacuum = off\n");
$primary->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_chunked;
CREATE TABLE event (id int PRIMARY KEY);
INSERT INTO event SELECT generate_series(1, 1000);
SELECT chunked.create_job('event', name => name, chunk_size => 100) FROM unnest('{rolled back,crash,failover,export}'::text[]) name;
SQL
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'hot_standby_feedback = on');
$standby->start;

# claim(NODE, JOB): (number, fence, upto, lsn)
sub claim
{
	my ($node, $job) = @_;
	return split /\|/, $node->safe_psql('postgres', "SELECT number, fence, upto->>'id', lsn FROM chunked.claim_chunk('$job')");
}

# refused(NODE, JOB, NUMBER, FENCE, NAME): it does not hold the chunk
sub refused
{
	my ($node, $job, $number, $fence, $name) = @_;
	my $messages;

	$node->psql('postgres', "\\set VERBOSITY verbose\nSELECT chunked.complete_chunk('$job', $number, $fence)", stderr => \$messages);
	like($messages, qr/ERROR:  55000: fence $fence does not hold chunk $number of job "$job"/, $name);
	return;
}

# A claim that is rolled back while its worker goes on, and the chunk is another one after alter_job()
my $session = session($primary);
$session->query('BEGIN');
my ($number, $fence) = split /\|/, $session->query("SELECT number, fence FROM chunked.claim_chunk('rolled back')");
$session->query('ROLLBACK');
$primary->safe_psql('postgres', "SELECT chunked.alter_job('rolled back', chunk_size => 500)");
my ($second, $fence_of_second, $upto) = claim($primary, 'rolled back');
is("$number $second $upto", '1 1 500', 'rolled back: the same number stands for another range');
refused($primary, 'rolled back', $number, $fence, 'the first worker is refused');
is($primary->safe_psql('postgres', "SELECT chunked.complete_chunk('rolled back', $second, $fence_of_second)"), '', 'the second one holds it');

# A crash before the claim has committed. It is asked for in a transaction, so that nothing of it was flushed for its commit.
my %given = ($fence => 1, $fence_of_second => 1);
for my $round (1 .. 3)
{
	my $worker = session($primary);
	$worker->query('BEGIN');
	my (undef, $lost) = split /\|/, $worker->query("SELECT number, fence FROM chunked.claim_chunk('crash')");
	ok(!$given{$lost}++, "crash $round: a new fence");
	$primary->stop('immediate');
	$primary->start;
	my ($again, $next) = claim($primary, 'crash');
	ok(!$given{$next}++, 'and another one after it');
	refused($primary, 'crash', $again, $lost, 'the lost one holds nothing');
	$primary->safe_psql('postgres', "SELECT chunked.complete_chunk('crash', $again, $next)");
}

# A standby that lags: without waiting it does not show all rows of a chunk that was claimed.
$primary->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$standby->poll_query_until('postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'});
$primary->safe_psql('postgres', 'INSERT INTO event SELECT generate_series(-500, 0)');
$primary->safe_psql('postgres', "SELECT chunked.drop_job('export'); SELECT chunked.create_job('event', name => 'export', chunk_size => 600)");
my ($export, $fence_of_export, undef, $lsn) = claim($primary, 'export');
my $count = 'SELECT count(*) FROM event WHERE id <= 99';
is($primary->safe_psql('postgres', $count), 600, 'the chunk on the primary');
is($standby->safe_psql('postgres', $count), 99, 'rows are missing on a standby that lags');
my $messages;
$standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT chunked.wait_for_lsn('$lsn', '50 ms')", stderr => \$messages);
like($messages, qr/ERROR:  55000: this server is at .*, which is before \Q$lsn\E.*HINT:  Wait again/s, 'which says so when it is asked to wait');
$standby->psql('postgres', "\\set VERBOSITY verbose\nBEGIN ISOLATION LEVEL REPEATABLE READ; SELECT chunked.wait_for_lsn('$lsn')", stderr => \$messages);
like($messages, qr/ERROR:  25001: wait_for_lsn\(\) must be called before/, 'waiting is of no use to an older snapshot');
my $waiting = background($standby, "SELECT chunked.wait_for_lsn('$lsn');\n$count");
$standby->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^SELECT chunked.wait_for_lsn' AND wait_event = 'Extension'});
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
my ($rows) = $waiting->ended;
like($rows, qr/^600$/m, 'all of them after the wait');
is($primary->safe_psql('postgres', "SELECT chunked.wait_for_lsn('$lsn', '0')"), '', 'the primary need not wait');

# A failover that loses the claim
$primary->wait_for_catchup($standby);
$standby->safe_psql('postgres', q{ALTER SYSTEM SET primary_conninfo = ''; SELECT pg_reload_conf()});
$standby->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_wal_receiver');
my ($lost_number, $lost, undef, $lost_lsn) = claim($primary, 'failover');
$primary->stop('immediate');
$standby->promote;
my ($again, $next) = claim($standby, 'failover');
is($again, $lost_number, 'failover: the same chunk is claimed');
cmp_ok($next, '>', $lost, 'with a greater fence');
refused($standby, 'failover', $lost_number, $lost, 'the lost claim holds nothing');
is($standby->safe_psql('postgres', "SELECT chunked.complete_chunk('failover', $again, $next)"), '', 'the new one holds it');
$standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT chunked.wait_for_lsn('FFFF/0', '10 ms')", stderr => \$messages);
like($messages, qr/HINT:  It is not a standby, and may have lost the end/, 'a position that the new primary does not have');

$standby->stop;
done_testing();
