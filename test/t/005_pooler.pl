# A walk through a transaction pool, where each call may be another backend's:
# nothing is held, so nothing is missed.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('pooler');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE event (id bigint PRIMARY KEY, n int, at timestamptz NOT NULL);
INSERT INTO event SELECT i, nullif(i % 20, 0), '2020-05-04'::timestamptz + i * interval '1 us' FROM generate_series(1, 5000) i;
CREATE INDEX ON event (n, id);
CREATE INDEX ON event (at, id);
SQL

my $connstr = start_pooler($node, 5);
plan skip_all => 'pgbouncer is not installed' unless $connstr;

# The pool has several backends only while several transactions are open.
my @clients = map { session($node, undef, $connstr) } 1 .. 5;
$_->query('BEGIN') for @clients;
my %backends = map { scalar $_->query('SELECT pg_backend_pid()') => 1 } @clients;
is(keys(%backends), 5, 'the pool has five backends');
$_->query('COMMIT') for @clients;

# A position that one client writes under settings of its own, others read under theirs.
$clients[0]->query(q{SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Tokyo'; SET IntervalStyle = 'iso_8601'});

for my $key ('id', 'n', 'at DESC')
{
	my $order = $key =~ s/[{}]//gr;
	my $position = 'NULL';
	my (@ids, %pids);
	my $calls = 0;

	# A walk that goes round in circles ends, too.
	while ($calls < 1000)
	{
		my $client = $clients[ $calls++ % @clients ];
		my ($rows, $message) = $client->query(
			"SELECT p.id, pg_backend_pid(), quote_literal(chunked.position_of(p, '$key')) FROM chunked.page(NULL::event, 97, after => $position, key => '$key') p");
		die $message if $message =~ /ERROR|FATAL/;
		last if $rows eq '';
		for my $row (split /\n/, $rows)
		{
			my ($id, $pid, $literal) = split /\|/, $row, 3;
			push @ids, $id;
			$pids{$pid} = 1;
			$position = $literal;
		}
	}
	cmp_ok(scalar(keys %pids), '>', 1, "a walk by $key over " . keys(%pids) . ' backends');
	is(join(',', @ids), $node->safe_psql('postgres', "SELECT string_agg(id::text, ',' ORDER BY $order, id) FROM event"), 'is ORDER BY');
}

# next_chunk() from backend to backend covers the table too.
my ($position, $rows, $calls) = ('NULL', 0, 0);
while ($calls < 1000)
{
	my $chunk = $clients[ $calls++ % @clients ]->query(
		"SELECT row_count, quote_literal(upto) FROM chunked.next_chunk('event', 311, after => $position)");
	last if $chunk eq '';
	$chunk =~ /^(\d+)\|(.*)$/ or die $chunk;
	$rows += $1;
	$position = $2;
}
is($rows, 5000, 'chunks from backend to backend cover the table');

# DDL through one client, a page through another
$clients[1]->query('ALTER TABLE event RENAME COLUMN at TO happened');
for my $client (@clients)
{
	is($client->query('SELECT happened IS NOT NULL FROM chunked.page(NULL::event, 1)'), 't', 'the new column name');
}
$node->restart;
my ($row) = ('');
for (1 .. 50)
{
	$row = $clients[2]->query("SELECT id FROM chunked.page(NULL::event, 1, after => '{\"id\": 100}')");
	last if $row eq '101';
	$clients[2] = session($node, undef, $connstr);
}
is($row, 101, 'the walk goes on after the server was restarted behind the pool');

$_->quit for @clients[ 0, 1, 3, 4 ];
$clients[2]->quit;
$node->stop;
done_testing();
