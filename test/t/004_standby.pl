# A walk on a hot standby, while the primary writes, and on after a promotion.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$primary->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\nmax_standby_streaming_delay = -1\n");
$primary->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_chunked;
CREATE TABLE event (id int PRIMARY KEY, n int, version int NOT NULL DEFAULT 0);
INSERT INTO event SELECT i * 10, nullif(i % 50, 0) FROM generate_series(1, 6000) i;
CREATE INDEX ON event (n, id);
CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY);
SQL
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

# From here on, what is committed is there on the standby.
$primary->wait_for_catchup($standby);
$primary->append_conf('postgresql.conf', "synchronous_standby_names = '*'\nsynchronous_commit = remote_apply\n");
$primary->reload;
my $reader = session($standby);
is($reader->query('SELECT pg_is_in_recovery()'), 't', 'the standby is one');

# Both servers say the same of a table at rest.
for my $call ("bounds('event')", "bounds('event', key => 'n')",
	"page(NULL::event, 5, after => '{\"id\": 1005}')", "page(NULL::event, 5, before => '{\"n\": null, \"id\": 1005}', key => 'n')",
	"chunks('event', 1000)", "chunks('event', 1000, key => 'n DESC NULLS LAST')", "next_chunk('event', 1000, filter => 'id % 20 = 0')")
{
	my $sql = "SELECT * FROM chunked.$call";
	is($reader->query($sql), $primary->safe_psql('postgres', $sql), "$call on the standby");
}
my (undef, $error) = $reader->query('SELECT FROM chunked.page(NULL::scratch)');
like($error, qr/cannot access temporary or unlogged relations during recovery/, 'an unlogged table is the error that the server gives');

# walk(SESSION, KEY, STEP): ids in the order of the walk; STEP is called after each page.
sub walk
{
	my ($session, $key, $step) = @_;
	my $position = 'NULL';
	my @ids;

	# A walk that goes round in circles ends, too.
	while (@ids < 100_000)
	{
		my ($rows, $message) = $session->query(
			"SELECT p.id, quote_literal(chunked.position_of(p, '$key')) FROM chunked.page(NULL::event, 500, after => $position, key => '$key') p");
		die $message if $message =~ /ERROR|FATAL/;
		last if $rows eq '';
		my @rows = map { [ split /\|/, $_, 2 ] } split /\n/, $rows;
		push @ids, map { $_->[0] } @rows;
		$position = $rows[-1][1];
		$step->() if $step;
	}
	return @ids;
}

is(join(',', walk($reader, 'id')), join(',', map { $_ * 10 } 1 .. 6000), 'a walk on the standby');

# While the primary inserts, deletes, updates and vacuums: what was there
# throughout, divisible by 10 but not by 30, comes exactly once.
my $writer = session($primary);
my $round = 0;
my $write = sub {
	$round++;
	$writer->query("INSERT INTO event SELECT i * 10 + $round % 9 + 1, i % 50 FROM generate_series(1, 6000, 7) i ON CONFLICT DO NOTHING");
	$writer->query("DELETE FROM event WHERE id % 30 = 0 AND id % 7 = $round % 7");
	$writer->query("UPDATE event SET version = version + 1 WHERE id % 11 = $round % 11");
	$writer->query('VACUUM event') if $round % 4 == 0;
};
for my $key ('id', 'n')
{
	my %seen;
	$round = 0;
	$seen{$_}++ for walk($reader, $key, $write);
	my @missing = grep { $_ % 30 != 0 && !$seen{$_} } map { $_ * 10 } 1 .. 6000;
	my @twice = grep { $seen{$_} > 1 } keys %seen;
	cmp_ok($round, '>', 10, "the primary wrote $round times during a walk by $key");
	is("@missing", '', 'no row was missed');
	is("@twice", '', 'no row came twice');
}

# One snapshot for all calls, if the caller wants it.
my $snapshot = session($standby);
$snapshot->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM event');
my $before = $snapshot->query("SELECT sum(row_count) FROM chunked.chunks('event', 1000)");
$writer->query('INSERT INTO event SELECT 1000000 + i FROM generate_series(1, 6000) i');
cmp_ok($standby->safe_psql('postgres', 'SELECT count(*) FROM event'), '>', $before, 'rows have come since');
is($snapshot->query("SELECT sum(row_count) FROM chunked.chunks('event', 1000)"), $before, 'REPEATABLE READ on the standby');
$snapshot->query('COMMIT');

# DDL that arrives by replication reaches the session's kept plans.
$primary->safe_psql('postgres', 'ALTER TABLE event ADD added text DEFAULT \'new\'; DROP INDEX event_n_id_idx');
is($reader->query("SELECT added FROM chunked.page(NULL::event, 1)"), 'new', 'a column added on the primary');
is($reader->query("SELECT count(*) FROM chunked.page(NULL::event, 10, key => 'n')"), 10, 'an index dropped on the primary');

# The walk goes on where it was when the standby becomes the primary.
my $page = $reader->query("SELECT id FROM chunked.page(NULL::event, 1, after => '{\"id\": 5000}')");
$standby->promote;
is($reader->query("SELECT id FROM chunked.page(NULL::event, 1, after => '{\"id\": 5000}')"), $page, 'the same session after the promotion');
is($reader->query("INSERT INTO event VALUES (5001); SELECT id FROM chunked.page(NULL::event, 1, after => '{\"id\": 5000}')"), 5001, 'and it writes');

$_->quit for $reader, $writer, $snapshot;
$standby->stop;
$primary->stop;
done_testing();
