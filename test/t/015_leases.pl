# Workers outside the server that die, or come too late, with chunks in hand:
# every row is worked on, every chunk completed once, by whoever holds it then.
# Directly, and through a transaction pool.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

use constant {
	ROWS => 400,
	CHUNKS => 40,
	WORKERS => 5,
	LEASE => 1,    # s
};

my $node = start_node('leases');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE event (id int PRIMARY KEY, n int NOT NULL);
CREATE TABLE work (number bigint, fence bigint, rows bigint, pid int);
SQL

# begin_step WORKER JOB: sends the next thing that this worker does: a claim, or a step of
# what it does with its chunk. All workers' statements run at the same time.
sub begin_step
{
	my ($worker, $job) = @_;
	my $chunk = $worker->{chunk};

	if (!$chunk)
	{
		$worker->{session}->send("SELECT state, number, fence, predicate FROM chunked.claim_chunk('$job', '${\LEASE} s')");
	}
	elsif ($worker->{step} eq 'work')
	{
		my $end = $chunk->{fate} eq 'dies at work' ? '' : 'COMMIT;';

		$worker->{session}->send(<<"SQL");
BEGIN;
WITH done AS (UPDATE event SET n = n + 1 WHERE $chunk->{predicate} RETURNING id)
INSERT INTO work SELECT $chunk->{number}, $chunk->{fence}, count(*), pg_backend_pid() FROM done;
$end
SQL
	}
	elsif ($worker->{step} eq 'renew')
	{
		$worker->{session}->send("SELECT chunked.renew_chunk('$job', $chunk->{number}, $chunk->{fence}, '10 min')");
	}
	else
	{
		$worker->{session}->send("\\set VERBOSITY verbose\nSELECT chunked.complete_chunk('$job', $chunk->{number}, $chunk->{fence}, 1)");
	}
	return;
}

# fate NUMBER CLAIM: what becomes of a worker with this chunk, its CLAIMth claim. Some chunks are lost by the
# first one who claims them, and none by another, so that it comes to an end.
sub fate
{
	my ($number, $claim) = @_;
	my @fates = ('dies at work', 'dies', 'is late', 'renews');

	return $claim == 1 && $number % 8 < @fates ? $fates[ $number % 8 ] : 'completes';
}

# end_step WORKER SEEN CONNECT: the outcome of the step that was begun. True: there is
# nothing more to do for it.
sub end_step
{
	my ($worker, $seen, $connect) = @_;
	my ($rows, $messages) = $worker->{session}->receive;
	my $chunk = $worker->{chunk};
	my ($number, $fence);

	if (!$chunk)
	{
		die $messages if $messages ne '';
		my ($state, $predicate);
		($state, $number, $fence, $predicate) = split /\|/, $rows, 4;
		return 1 if $state eq 'done';
		die "state $state" unless $state eq 'claimed' || $state eq 'wait';
		if ($state eq 'claimed')
		{
			push @{ $seen->{claimed} }, $fence;
			$worker->{chunk} = {
				number => $number, fence => $fence, predicate => $predicate,
				fate => fate($number, ++$seen->{claims}{$number}), over => Time::HiRes::time() + LEASE + 0.2 };
			$worker->{step} = 'work';
		}
		return 0;
	}

	($number, $fence) = @$chunk{qw(number fence)};
	if ($worker->{step} eq 'work')
	{
		die $messages if $messages ne '';
		if ($chunk->{fate} =~ /^dies/)
		{
			$worker->{session}{run}->kill_kill(grace => 30);
			$worker->{session} = $connect->();
			$worker->{chunk} = undef;
			$seen->{died}++;
		}
		else
		{
			$worker->{step} = $chunk->{fate} eq 'renews' ? 'renew' : 'complete';
		}
	}
	elsif ($worker->{step} eq 'renew')
	{
		# A machine that is slow enough loses the lease before.
		if ($messages ne '')
		{
			like($messages, qr/ERROR:.*does not hold chunk/, "chunk $number: lost before it was renewed");
			$chunk->{fate} = 'is late';
		}
		$worker->{step} = 'complete';
	}
	else
	{
		if ($messages eq '')
		{
			$seen->{completed}{$number} .= " $fence";
		}
		else
		{
			like($messages, qr/ERROR:  55000: fence $fence does not hold chunk $number .*DETAIL:  (?:The chunk is|The lease ran out)/s,
				"chunk $number: late, and refused");
			$seen->{refused}++;
		}
		if ($chunk->{fate} eq 'is late')
		{
			isnt($messages, '', "chunk $number: not completed after the lease");
		}
		elsif ($chunk->{fate} eq 'renews')
		{
			is($messages, '', "chunk $number: completed after the first lease, since it was renewed");
		}
		$worker->{chunk} = undef;
	}
	return 0;
}

# work_on(JOB, CONNECT): a job by workers in sessions that CONNECT makes.
sub work_on
{
	my ($job, $connect) = @_;
	my $seen = { claimed => [], completed => {}, died => 0, refused => 0 };
	my @workers = map { { session => $connect->(), chunk => undef, step => '' } } 1 .. WORKERS;
	my $deadline = Time::HiRes::time() + $PostgreSQL::Test::Utils::timeout_default;
	my $size = ROWS / CHUNKS;

	$node->safe_psql('postgres', <<"SQL");
TRUNCATE event, work;
INSERT INTO event SELECT i, 0 FROM generate_series(1, ${\ROWS}) i;
SELECT chunked.create_job('event', name => '$job', chunk_size => $size, max_attempts => 1000);
SQL
	my @left = @workers;
	while (@left)
	{
		my (@over, $claimed);

		die 'it takes too long' if Time::HiRes::time() > $deadline;
		# Who is late, or has renewed, keeps the chunk until the first lease is over.
		my @ready = grep { !($_->{chunk} && $_->{step} eq 'complete' && $_->{chunk}{fate} =~ /^(?:is late|renews)$/
			&& Time::HiRes::time() < $_->{chunk}{over}) } @left;
		begin_step($_, $job) for @ready;
		push @over, grep { end_step($_, $seen, $connect) } @ready;
		@left = grep { my $worker = $_; !grep { $_ == $worker } @over } @left;
		Time::HiRes::sleep(0.02) unless grep { $_->{chunk} } @ready;
	}
	$_->{session}->quit for @workers;

	is($node->safe_psql('postgres', "SELECT status FROM chunked.jobs WHERE name = '$job'"), 'done', 'the job is done');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM event WHERE n >= 1'), ROWS, 'every row has been worked on');
	cmp_ok($seen->{died}, '>=', CHUNKS / 8 * 2, "$seen->{died} workers died");
	cmp_ok($seen->{refused}, '>=', CHUNKS / 8, "$seen->{refused} were late");

	my %claims;
	$claims{$_}++ for @{ $seen->{claimed} };
	is(join(' ', grep { $claims{$_} > 1 } sort keys %claims), '', 'no fence was given out twice');

	my $ledger = $node->safe_psql('postgres',
		"SELECT string_agg(format('%s: %s', number, fence), ', ' ORDER BY number) FROM chunked.job_chunks WHERE job = '$job' AND state = 'done'");
	is(join(', ', map { "$_:$seen->{completed}{$_}" } sort { $a <=> $b } keys %{ $seen->{completed} }), $ledger,
		'every chunk was completed once, by the fence that held it');
	is(scalar(keys %{ $seen->{completed} }), CHUNKS, 'all of them');

	# A row is done again only where a lease was lost, and as often as it was worked on.
	is($node->safe_psql('postgres', <<"SQL"), 0, 'no row was done twice in a chunk that was never lost');
SELECT count(*) FROM event JOIN chunked.job_chunks c ON job = '$job'
	AND id > coalesce((c.after->>'id')::int, 0) AND id <= (c.upto->>'id')::int WHERE n > c.attempts + 1
SQL
	is($node->safe_psql('postgres', 'SELECT sum(n) FROM event'), $node->safe_psql('postgres', 'SELECT sum(rows) FROM work'), 'and as often as was recorded');
	cmp_ok($node->safe_psql('postgres', "SELECT retries FROM chunked.progress WHERE job = '$job'"), '>=', $seen->{died}, 'the leases that were lost count as retries');
	return;
}

work_on('direct', sub { session($node) });

SKIP:
{
	my $connstr = start_pooler($node, 3);
	skip 'pgbouncer is not installed', 1 unless $connstr;

	work_on('pooled', sub { session($node, undef, $connstr) });
	cmp_ok($node->safe_psql('postgres', 'SELECT count(DISTINCT pid) FROM work'), '>', 1, 'by several backends of the pool');
	is($node->safe_psql('postgres',
			'SELECT count(*) > 0 FROM (SELECT number FROM work GROUP BY number HAVING count(DISTINCT fence) > 1) w'),
		't', 'some chunks by several workers');
}

$node->stop;
done_testing();
