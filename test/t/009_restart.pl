# Nothing is lost with the connection or with the server: between any two pages
# the server is stopped at once and started again, and the walk goes on.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('restart');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE event (id int PRIMARY KEY, n int);
INSERT INTO event SELECT i, nullif(i % 9, 0) FROM generate_series(1, 5000) i;
CREATE INDEX ON event (n, id);
SQL

my $walk = $node->safe_psql('postgres', q{SELECT string_agg(id::text, ',' ORDER BY n, id) FROM event});
my ($position, @ids) = ('NULL');
my $chunk_after = 'NULL';
my $chunk_rows = 0;
my $crashes = 0;
my $left_open;
while ($crashes < 20)
{
	# A session that the crash finds in the middle of a walk
	$left_open = session($node);
	$left_open->query(q{BEGIN; DECLARE c CURSOR FOR SELECT chunked.chunks('event', 10); FETCH 5 FROM c});

	my $page = $node->safe_psql('postgres',
		"SELECT p.id, quote_literal(chunked.position_of(p, 'n')) FROM chunked.page(NULL::event, 1000, after => $position, key => 'n') p");
	my $chunk = $node->safe_psql('postgres',
		"SELECT row_count, quote_literal(upto) FROM chunked.next_chunk('event', 999, after => $chunk_after)");

	last if $page eq '' && $chunk eq '';
	for my $row (split /\n/, $page)
	{
		(my $id, $position) = split /\|/, $row, 2;
		push @ids, $id;
	}
	if ($chunk ne '')
	{
		(my $rows, $chunk_after) = split /\|/, $chunk, 2;
		$chunk_rows += $rows;
	}
	$node->stop('immediate');
	$node->start;
	$crashes++;
}
is(join(',', @ids), $walk, "a walk over $crashes crashes is ORDER BY");
is($chunk_rows, 5000, 'and so are the chunks');

# A backend that dies takes only its own call with it.
my $victim = session($node);
my $pid = $victim->query('SELECT pg_backend_pid()');
$victim->query(q{SELECT count(*) FROM chunked.page(NULL::event, 10)});
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 5000)");
is($node->safe_psql('postgres', q|SELECT id FROM chunked.page(NULL::event, 1, after => '{"id": 10}')|), 11, 'another session goes on where it was');

# While old_snapshot_threshold is set (15 and 16), counts and boundaries go through the server's own
# scans: these alone say when a snapshot is too old, where a count by the index would be wrong.
SKIP:
{
	skip 'there is no old_snapshot_threshold', 2 unless $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'old_snapshot_threshold'});

	$node->safe_psql('postgres', 'VACUUM event');
	for my $threshold (-1, 60)
	{
		$node->append_conf('postgresql.conf', "old_snapshot_threshold = $threshold");
		$node->restart;
		my $session = explained(session($node));
		my ($count, @plans) = plans($session, q{SELECT chunked.row_count('event')});
		is("$count " . scalar(nodes_of_type('.*Scan.*', @plans)), $threshold < 0 ? '5000 0' : '5000 1', "old_snapshot_threshold = $threshold: by scans of the server or not");
		$session->quit;
	}
}

$node->stop;
done_testing();
