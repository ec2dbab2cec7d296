# A foreign table is walked by queries whose WHERE, ORDER BY and LIMIT the
# remote server evaluates; uniqueness is nobody's promise there.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('foreign');
my ($ret, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION postgres_fdw');
plan skip_all => 'postgres_fdw is not installed' if $ret != 0 && $err =~ /not available|could not open extension control file/;

my $host = $node->host;
my $port = $node->port;
$node->safe_psql('postgres', <<SQL);
CREATE DATABASE remote;
\\c remote
CREATE TABLE event (id int PRIMARY KEY, a int NOT NULL, n int, t text COLLATE "C" NOT NULL, kind int);
INSERT INTO event SELECT i, i % 40, nullif(i % 7, 0), md5(i::text), i % 2 FROM generate_series(1, 3000) i;
CREATE INDEX ON event (a, id);
CREATE INDEX ON event (n, id);
CREATE INDEX ON event (a, n DESC, id);
ANALYZE;
\\c postgres
CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'remote');
CREATE USER MAPPING FOR CURRENT_USER SERVER loopback;
CREATE FOREIGN TABLE event (id int, a int, n int, t text COLLATE "C", kind int) SERVER loopback;
CREATE FOREIGN TABLE event_not_null (id int NOT NULL, a int NOT NULL, n int, t text COLLATE "C" NOT NULL, kind int)
	SERVER loopback OPTIONS (table_name 'event');
ANALYZE event, event_not_null;
SQL

my $session = explained(session($node));

# shipped(WHAT, CALL, ROWS): every query under CALL is one remote query, and all
# of it.
sub shipped
{
	my ($what, $call, $rows) = @_;
	my ($count, @plans) = plans($session, "SELECT count(*) FROM chunked.$call");
	my @local;

	is($count, $rows, "$what: rows");
	for my $plan (@plans)
	{
		my ($sql) = $plan->{text} =~ /Remote SQL: (.*)/;
		my $where = $plan->{query} =~ / WHERE /;
		my $counts = $plan->{query} =~ /^SELECT pg_catalog\.count/;
		my $limits = $plan->{query} =~ / LIMIT \d+(?: OFFSET \d+)?\s*$/m;

		push @local, "$plan->{query}\n$plan->{text}"
		  unless defined $sql
		  && (!$where || $sql =~ / WHERE /)
		  && ($counts ? $sql =~ /^SELECT count\(\*\)/ : $sql =~ / ORDER BY /)
		  && ($counts || ($limits && $sql =~ / LIMIT /))
		  && ($plan->{query} !~ / OFFSET / || $sql =~ / OFFSET /)
		  && $plan->{nodes}[-1]{type} eq 'Foreign Scan'
		  && !nodes_of_type('Sort|Incremental Sort|Limit|Aggregate', $plan)
		  && $plan->{text} !~ /^ +Filter:/m;
	}
	is(join("\n", scalar(@plans) ? () : 'no plans', @local), '', "$what: shipped");
	return;
}

for my $table (qw(event event_not_null))
{
	shipped("$table, first page", "page(NULL::$table, 10, key => 'id')", 10);
	shipped("$table, after", qq|page(NULL::$table, 10, after => '{"id": 1000}', key => 'id')|, 10);
	shipped("$table, before", qq|page(NULL::$table, 10, before => '{"id": 1000}', key => 'id')|, 10);
	shipped("$table, between", qq|page(NULL::$table, 10, after => '{"id": 1100}', upto => '{"id": 1000}', key => 'id DESC')|, 10);
	shipped("$table, text", qq|page(NULL::$table, 10, after => '{"t": "8", "id": "8"}', key => 't, id')|, 10);
	shipped("$table, two columns", qq|page(NULL::$table, 10, after => '{"a": 20, "id": 1000}', key => 'a, id')|, 10);
	shipped("$table, mixed directions", qq|page(NULL::$table, 100, after => '{"a": 20, "n": 3, "id": 1000}', key => 'a, n DESC, id')|, 100);
	shipped("$table, nulls", qq|page(NULL::$table, 100, after => '{"n": null, "id": 1000}', key => 'n, id')|, 100);
	shipped("$table, upto a null", qq|page(NULL::$table, 100, after => '{"n": 2, "id": 1000}', upto => '{"n": null, "id": 1000}', key => 'n, id')|, 100);
	shipped("$table, filter", qq|page(NULL::$table, 10, after => '{"id": 1000}', key => 'id', filter => 'kind = 1')|, 10);
	shipped("$table, next_chunk", qq|next_chunk('$table', 100, after => '{"a": 20, "id": 1000}', key => 'a, id')|, 1);
	shipped("$table, bounds", "bounds('$table', key => 'a, id')", 1);
}

# The walk is ORDER BY, forwards, backwards and by predicates.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION forwards(key text, size int) RETURNS SETOF event LANGUAGE plpgsql AS $$
DECLARE
	position jsonb;
	last event;
BEGIN
	LOOP
		RETURN QUERY SELECT * FROM chunked.page(NULL::event, size, position, key => key);
		EXIT WHEN NOT FOUND;
		SELECT id, a, n, t, kind INTO last
			FROM chunked.page(NULL::event, size, position, key => key) WITH ORDINALITY AS p(id, a, n, t, kind, i)
			ORDER BY i DESC LIMIT 1;
		position := chunked.position_of(last, key);
	END LOOP;
END $$;
CREATE FUNCTION by_predicates(key text, size int) RETURNS SETOF event LANGUAGE plpgsql AS $$
DECLARE
	c chunked.chunk;
BEGIN
	FOR c IN SELECT * FROM chunked.chunks('event', size, key => key) LOOP
		RETURN QUERY EXECUTE 'SELECT * FROM event WHERE ' || c.predicate;
		GET DIAGNOSTICS size = ROW_COUNT;
		ASSERT size = c.row_count, c.predicate;
	END LOOP;
END $$;
SQL
for my $walk ([ 'id', 'id' ], [ 'a, id', 'a, id' ], [ 'n, id', 'n, id' ], [ 'n DESC, a, id', 'n DESC, a, id' ],
	[ 't DESC, id', 't DESC, id' ], [ 'n NULLS FIRST, id DESC', 'n NULLS FIRST, id DESC' ])
{
	my ($key, $order) = @$walk;
	is( $node->safe_psql('postgres', "SELECT array_agg(id) FROM forwards('$key', 271)"),
		$node->safe_psql('remote', "SELECT array_agg(id ORDER BY $order) FROM event"), "walk by $key is ORDER BY");
	is( $node->safe_psql('postgres', "SELECT count(*), count(DISTINCT id) FROM by_predicates('$key', 271)"),
		'3000|3000', "chunks by $key cover all");
}

# Duplicates at a boundary
for my $call ("page(NULL::event, 100, key => 'a')", qq|page(NULL::event, 100, before => '{"a": 20}', key => 'a')|)
{
	($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT FROM chunked.$call");
	like($err, qr/ERROR:  21000/, "duplicates at the end of $call");
}
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT id) FROM by_predicates('a', 100)"), '3000|3000', 'chunks take them in');
is($node->safe_psql('postgres', "SELECT count(*) FROM chunked.page(NULL::event, 3000, key => 'a')"), 3000, 'duplicates within a page are no error');
is($node->safe_psql('postgres', "SELECT count(*) FROM chunked.page(NULL::event, 75, key => 'a')"), 75, 'nor are they when the page ends between keys');

# A remote error, and a connection that is lost between two pages, end one call only.
my $plain = session($node);
is($plain->query("SELECT count(*) FROM chunked.page(NULL::event, 10, key => 'id')"), 10, 'connected');
$node->safe_psql('remote', 'ALTER TABLE event RENAME TO gone');
($out, $err) = $plain->query("SELECT count(*) FROM chunked.page(NULL::event, 10, key => 'id')");
like($err, qr/relation "public.event" does not exist/, 'the remote error is shown');
$node->safe_psql('remote', 'ALTER TABLE gone RENAME TO event');
$node->safe_psql('postgres', q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'remote'});
is($plain->query(qq|SELECT count(*) FROM chunked.page(NULL::event, 10, after => '{"id": 10}', key => 'id')|), 10,
	'and the walk goes on, over a new connection');

# A job that reads foreign rows is done exactly once; one that writes them may not be, and says so.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE copied (id int PRIMARY KEY);
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE TABLE parted_here PARTITION OF parted FOR VALUES FROM (0) TO (1000);
CREATE FOREIGN TABLE parted_there PARTITION OF parted FOR VALUES FROM (1000) TO (10000) SERVER loopback OPTIONS (table_name 'there');
SQL
$node->safe_psql('remote', 'CREATE TABLE there (id int)');
$node->safe_psql('postgres', q{CALL chunked.run('event', 'INSERT INTO copied SELECT id FROM event WHERE {chunk}', key => 'id', chunk_size => 500)});
is($node->safe_psql('postgres', 'SELECT count(*) FROM copied'), 3000, 'a job reads foreign rows');
for my $statement ('UPDATE event SET kind = kind WHERE {chunk}', 'DELETE FROM event WHERE {chunk}', 'INSERT INTO parted SELECT id FROM event WHERE {chunk}',
	'WITH w AS (INSERT INTO event SELECT * FROM event WHERE false) SELECT id FROM event WHERE {chunk}')
{
	($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT chunked.create_job('event', \$\$$statement\$\$, key => 'id')");
	like($err, qr/ERROR:  0A000: the statement writes to a foreign table\n.*HINT:  Where that does no harm, pass on_foreign_write => 'at_least_once'/s, "refused: $statement");
}
$node->safe_psql('postgres', q{CALL chunked.run('event', 'INSERT INTO parted SELECT id FROM event WHERE {chunk}', key => 'id', chunk_size => 500, on_foreign_write => 'at_least_once')});
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM parted'), '3000|3000', 'but for who knows');
($ret, $out, $err) = $node->psql('postgres', q{SELECT chunked.create_job('event', on_foreign_write => 'maybe', key => 'id')});
like($err, qr/on_foreign_write must be 'refuse' or 'at_least_once', not 'maybe'/, 'there is nothing else');
# a partition that is foreign from now on
$node->safe_psql('postgres', q{CREATE TABLE later (id int) PARTITION BY RANGE (id); CREATE TABLE later_1 PARTITION OF later FOR VALUES FROM (0) TO (1000); CREATE TABLE later_2 PARTITION OF later FOR VALUES FROM (1000) TO (10000);
	SELECT chunked.create_job('event', 'INSERT INTO later SELECT id FROM event WHERE {chunk}', key => 'id', name => 'later')});
$node->safe_psql('postgres', q{DROP TABLE later_2; CREATE FOREIGN TABLE later_2 PARTITION OF later FOR VALUES FROM (1000) TO (10000) SERVER loopback OPTIONS (table_name 'there')});
($ret, $out, $err) = $node->psql('postgres', q{CALL chunked.run_job('later')});
like($err, qr/the statement writes to a foreign table/, 'nor does it go on where a table has become foreign');

$session->quit;
$plain->quit;
$node->stop;
done_testing();
