# A page in the middle of a large table reads about as many buffers as it has
# rows, wherever it starts; of a partitioned table, only the partitions it needs.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use Test::More;

my $node = start_node('buffers');

# One value of n is rare and the others are not, so that their average, which is
# all that a kept plan knows, means nothing; and the rows lie in the order of id,
# so that the primary key is the cheapest index for whatever it serves.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE event (id int PRIMARY KEY, a int NOT NULL, n int, kind int NOT NULL, pad text);
INSERT INTO event
	SELECT i, i / 100, CASE WHEN i % 50000 = 0 THEN 1 WHEN i % 7 > 0 THEN 2 + (hashint4(i) & 1) END, i % 2, repeat('x', 40)
	FROM generate_series(1, 500000) i;
CREATE INDEX ON event (a, id);
CREATE INDEX ON event (a DESC, id);
CREATE INDEX ON event (n, id);
CREATE INDEX ON event (n DESC NULLS LAST, id);
CREATE INDEX ON event (a, n DESC, id);
CREATE INDEX ON event (a, id) WHERE kind = 1;
CREATE TABLE parent (a int, id int, PRIMARY KEY (a, id));
CREATE TABLE child (PRIMARY KEY (a, id)) INHERITS (parent);
INSERT INTO parent SELECT a, id FROM event WHERE id <= 100000;
INSERT INTO child SELECT a, id FROM event WHERE id > 100000 AND id <= 200000;
CREATE VIEW visible AS SELECT id, a, kind FROM event WHERE kind < 2;
CREATE MATERIALIZED VIEW frozen AS SELECT id, a FROM event;
CREATE UNIQUE INDEX ON frozen (a, id);
CREATE TABLE part (day date, id int, v int, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
SELECT format('CREATE TABLE part_%1$s PARTITION OF part FOR VALUES FROM (%2$L) TO (%3$L)', i, '2020-01-01'::date + i * 10, '2020-01-01'::date + i * 10 + 10)
	FROM generate_series(0, 9) i \gexec
INSERT INTO part SELECT '2020-01-01'::date + i / 1000, i, i FROM generate_series(0, 99999) i;
CREATE INDEX ON part (day DESC, id);
CREATE INDEX ON part (v);
VACUUM ANALYZE;
SQL

my $session = explained(session($node));

# touches(WHAT, CALL, ROWS, MOST): the call brings ROWS and touches MOST buffers
# at most. It runs once before it is measured, for the catalog's own buffers.
sub touches
{
	my ($what, $call, $rows, $most) = @_;
	my ($count, @plans) = plans($session, "SELECT count(*) FROM chunked.$call");
	my $explained = $session->query("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, COSTS OFF, SUMMARY OFF) SELECT FROM chunked.$call");
	my ($line) = $explained =~ /^ +Buffers: (shared .*)/m;
	my $buffers = 0;

	$buffers += $_ for ($line // '') =~ /(?:hit|read)=(\d+)/g;
	is($count, $rows, "$what: rows");
	ok(defined $line && $buffers <= $most, "$what: buffers")
	  or diag("$buffers buffers, not $most: ", map { "$_->{query}\n$_->{text}\n" } @plans);
	return @plans;
}

for my $native ('on', 'off')
{
	my $how = "native reads $native";
	$session->query("SET pg_chunked.native = $native");

	for my $id (1000, 250000, 499000)
	{
		my $a = int($id / 100);

		touches("$how, primary key, after $id", qq|page(NULL::event, 10, after => '{"id": $id}')|, 10, 15);
		touches("$how, primary key, before $id", qq|page(NULL::event, 10, before => '{"id": $id}')|, 10, 15);
		touches("$how, two columns, after $id", qq|page(NULL::event, 10, after => '{"a": $a, "id": $id}', key => 'a')|, 10, 15);
		touches("$how, mixed directions, after $id",
			qq|page(NULL::event, 10, after => '{"a": $a, "id": $id}', key => 'a DESC')|, 10, 25);
		touches("$how, mixed directions, nullable, before $id",
			qq|page(NULL::event, 10, before => '{"a": $a, "n": 2, "id": $id}', key => 'a, n DESC')|, 10, 30);
		touches("$how, inheritance parent, after $id",
			sprintf(q|page(NULL::parent, 10, after => '{"a": %d, "id": %d}')|, $a * 0.39, $id * 0.39), 10, 60);
		touches("$how, materialized view, after $id", qq|page(NULL::frozen, 10, after => '{"a": $a, "id": $id}', key => 'a, id')|, 10, 30);
		touches("$how, view, after $id", qq|page(NULL::visible, 10, after => '{"id": $id}', key => 'id')|, 10, 20);
		touches("$how, filter, after $id", qq|page(NULL::event, 10, after => '{"id": $id}', filter => 'kind = 1')|, 10, 30);
		touches("$how, partial index, after $id",
			qq|page(NULL::event, 10, after => '{"a": $a, "id": $id}', key => 'a', filter => 'kind = 1')|, 10, 25);
		touches("$how, index behind an equality of the filter, after $id",
			qq|page(NULL::event, 10, after => '{"id": $id}', filter => 'n = 1')|, 10 - int($id / 50000), 60);
		touches("$how, index behind an equality of the filter, chunk after $id",
			qq|next_chunk('event', 3, after => '{"id": $id}', filter => 'n = 1')|, 1, 40);
		touches("$how, partial index, chunk after $id",
			qq|next_chunk('event', 10, after => '{"a": $a, "id": $id}', upto => '{"a": 5000, "id": 500000}', key => 'a', filter => 'kind = 1')|, 1, 40);
		touches("$how, chunk after $id", qq|next_chunk('event', 10, after => '{"id": $id}')|, 1, 25);
		for my $n (1, 2, 3)
		{
			touches("$how, nullable $n, after $id",
				qq|page(NULL::event, 10, after => '{"n": $n, "id": $id}', key => 'n')|, 10, 25);
			touches("$how, nullable $n, before $id",
				qq|page(NULL::event, 10, before => '{"n": $n, "id": $id}', key => 'n')|, $n == 1 ? int(($id - 1) / 50000) : 10, 25);
			touches("$how, nullable $n, descending, nulls last, after $id",
				qq|page(NULL::event, 10, after => '{"n": $n, "id": $id}', key => 'n DESC NULLS LAST')|, 10, 25);
		}
		touches("$how, nullable, after null and $id",
			qq|page(NULL::event, 10, after => '{"n": null, "id": $id}', key => 'n')|, 10, 25);
	}
	touches("$how, bounds", q|bounds('event', key => 'n')|, 1, 20);
}

# Where the index leads to just the rows of a page, no query is run for it, and none is planned.
sub queries
{
	my ($call, $native) = @_;

	$session->query("SET pg_chunked.native = $native");
	my ($count, @plans) = plans($session, "SELECT count(*) FROM chunked.$call");
	return scalar @plans;
}

for my $call (
	q|page(NULL::event, 10, after => '{"id": 250000}')|,
	q|page(NULL::event, 10, before => '{"id": 250000}')|,
	q|page(NULL::event, 10, after => '{"a": 2500, "id": 250000}', key => 'a DESC')|,
	q|page(NULL::event, 10, after => '{"n": null, "id": 250000}', key => 'n')|,
	q|page(NULL::frozen, 10, after => '{"a": 2500, "id": 250000}', key => 'a, id')|)
{
	is(queries($call, 'on'), 0, "no query: $call");
	isnt(queries($call, 'off'), 0, "queries, when told so: $call");
}

# Partitions
$session->query('SET pg_chunked.native = off');
my @plans = touches('partitioned, in the middle', q|page(NULL::part, 10, after => '{"day": "2020-02-15", "id": 45500}')|, 10, 60);
my @scanned = map { $_->{text} =~ /part_(\d+)_pkey/g } @plans;
is_deeply([ grep { $_ < 4 } @scanned ], [], 'partitions before the position are pruned');

sub scanned
{
	my ($call) = @_;
	my ($count, @plans) = plans($session, "SELECT count(*) FROM chunked.$call");
	my %scanned;

	for my $plan (@plans)
	{
		for my $line (grep { /Scan.* using \S*part_\d+/ && !/never executed/ } split /\n/, $plan->{text})
		{
			$scanned{$1} = 1 if $line =~ /part_(\d+)/;
		}
	}
	return join(' ', sort keys %scanned);
}

my $within = q|after => '{"day": "2020-02-12", "id": 42500}', upto => '{"day": "2020-02-15", "id": 45500}'|;
is(scanned("page(NULL::part, 10000, $within)"), '4', 'a page within a partition scans that one');
is(scanned("chunks('part', 1000, $within)"), '4', 'chunks within a partition scan that one');
is(scanned("page(NULL::part, 10000, $within, key => 'day, id', filter => 'v > 0')"), '4', 'a filter does not keep others from being pruned');
is(scanned(q|page(NULL::part, 10000, key => 'day DESC, id', after => '{"day": "2020-02-15", "id": 45500}', upto => '{"day": "2020-02-12", "id": 42500}')|),
	'4', 'the ladder is pruned too');
is(scanned(q|page(NULL::part, 10000, after => '{"day": "2020-02-12", "id": 42500}', upto => '{"day": "2020-02-25", "id": 55500}')|),
	'4 5', 'a page over two partitions scans those two');

my $predicate = $session->query("SELECT predicate FROM chunked.next_chunk('part', 100, $within, alias => 'p')");
my $plan = $session->query("EXPLAIN (COSTS OFF) SELECT count(*) FROM part p WHERE $predicate");
like($plan, qr/Index (Only )?Scan using part_4_\w+ on .*\n.*Index Cond/, "a chunk's predicate prunes partitions and is an index range");
unlike($plan, qr/part_[^4]|Seq Scan|Filter/, 'and nothing else is scanned');
is($session->query("SELECT count(*) FROM part p WHERE $predicate"), 100, 'and it has the rows of the chunk');
unlike($session->query("EXPLAIN (COSTS OFF) SELECT * FROM event WHERE "
	  . $session->query(q|SELECT predicate FROM chunked.next_chunk('event', 10, after => '{"id": 250000}')|)),
	qr/Seq Scan|Filter/, "a chunk's predicate of an ordinary table is an index range");

$session->quit;
$node->stop;
done_testing();
