# Foreign tables, and foreign partitions of partitioned tables: what the remote
# server can do, it does, so that few more rows travel than are asked for.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('rows');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\nshared_preload_libraries = 'pg_stat_statements'\n");
plan skip_all => 'pg_stat_statements is not installed' unless $node->start(fail_ok => 1);
my ($ret, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION pg_chunked; CREATE EXTENSION postgres_fdw; CREATE EXTENSION pg_stat_statements');
plan skip_all => 'postgres_fdw is not installed' if $ret != 0 || $err =~ /could not open extension control file|not available/;

# Four tables at the other end, which stand for one: by ranges of id ("ranged"), by id % 4
# ("hashed"), or, some of the partitions being here, "mixed". kind has few values, so that
# its leading runs are long.
my ($host, $port) = ($node->host, $node->port);
my $columns = 'id int NOT NULL, kind int NOT NULL, n int, t text COLLATE "C" NOT NULL';
my $rows = 'SELECT i, i % 2, nullif(i % 7, 0), md5(i::text) FROM generate_series(1, 20000) i';
my ($remote, $partitions) = ('', '');
for my $i (0 .. 3)
{
	my ($from, $to) = ($i == 0 ? 'MINVALUE' : $i * 5000 + 1, $i == 3 ? 'MAXVALUE' : ($i + 1) * 5000 + 1);
	my $mine = $i % 2 ? "CREATE TABLE mixed_$i PARTITION OF mixed" : "CREATE FOREIGN TABLE mixed_$i PARTITION OF mixed";
	my $server = "SERVER loopback OPTIONS (table_name";
	for my $shape ([ r => "i BETWEEN $i * 5000 + 1 AND ($i + 1) * 5000" ], [ h => "i % 4 = $i" ])
	{
		my ($name, $which) = @$shape;
		$remote .= "CREATE TABLE $name$i ($columns, PRIMARY KEY (id)); INSERT INTO $name$i $rows WHERE $which;"
		  . "CREATE INDEX ON $name$i (kind, id); CREATE INDEX ON $name$i (n, id);\n";
	}
	$partitions .= "CREATE FOREIGN TABLE ranged_$i PARTITION OF ranged FOR VALUES FROM ($from) TO ($to) $server 'r$i');"
	  . "CREATE FOREIGN TABLE hashed_$i PARTITION OF hashed FOR VALUES IN ($i) $server 'h$i');"
	  . "$mine FOR VALUES FROM ($from) TO ($to)" . ($i % 2 ? ';' : " $server 'r$i');") . "\n";
}
$node->safe_psql('postgres', <<SQL);
CREATE DATABASE remote;
\\c remote
CREATE TABLE event ($columns, PRIMARY KEY (id));
INSERT INTO event $rows;
CREATE INDEX ON event (kind, id);
CREATE INDEX ON event (n, id);
$remote
ANALYZE;
\\c postgres
CREATE TABLE plain ($columns);
INSERT INTO plain $rows;
CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'remote', use_remote_estimate 'false');
CREATE USER MAPPING FOR PUBLIC SERVER loopback OPTIONS (user '@{[ $node->safe_psql('postgres', 'SELECT current_user') ]}', password_required 'false');
CREATE FOREIGN TABLE event ($columns) SERVER loopback;
CREATE TABLE ranged ($columns) PARTITION BY RANGE (id);
CREATE TABLE hashed ($columns) PARTITION BY LIST ((id % 4));
CREATE TABLE mixed ($columns) PARTITION BY RANGE (id);
$partitions
INSERT INTO mixed SELECT * FROM plain WHERE id BETWEEN 5001 AND 10000 OR id > 15000;
CREATE INDEX ON mixed (id);
CREATE INDEX ON mixed (kind, id);
CREATE INDEX ON mixed (n, id);
ANALYZE;
CREATE FUNCTION covered(call text, relation text, filter text DEFAULT 'true') RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE
	c chunked.chunk;
	ids int[];
	seen int[] := '{}';
	as_counted boolean := true;
	chunks int := 0;
BEGIN
	FOR c IN EXECUTE 'SELECT * FROM chunked.' || call LOOP
		EXECUTE format('SELECT array_agg(id) FROM %s WHERE (%s) AND (%s)', relation, c.predicate, filter) INTO ids;
		as_counted := as_counted AND c.row_count = coalesce(cardinality(ids), 0);
		seen := seen || ids;
		chunks := chunks + 1;
	END LOOP;
	RETURN format('%s chunks, %s rows, %s different, %s', chunks, cardinality(seen),
		(SELECT count(DISTINCT i) FROM unnest(seen) i), CASE WHEN as_counted THEN 'as counted' ELSE 'otherwise counted' END);
END \$\$;
SQL

my $session = session($node);

# travelled(SQL): its output, and the rows that came from the other end.
sub travelled
{
	my ($sql) = @_;

	$session->query('SELECT pg_stat_statements_reset()');
	my ($output, $messages) = $session->query($sql);
	my $count = $session->query(q{SELECT coalesce(sum(rows), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = dbid
		WHERE datname = 'remote' AND query ~* '^(FETCH|SELECT|EXECUTE)'});
	return ($output, $count, $messages);
}

# few(WHAT, SQL, PLAIN, ASKED): it gives what plain SQL over the same rows does, and no more
# than twice the rows asked for travel.
sub few
{
	my ($what, $sql, $plain, $asked) = @_;
	my ($output, $count, $messages) = travelled($sql);
	my $wanted = $session->query($plain);

	is($output, $wanted, "$what: result");
	ok($count <= 2 * $asked, "$what: rows travelling: $count for $asked");
	is($messages, '', "$what: no messages");
	return;
}

sub page
{
	my ($what, $table, $size, $key, $where, $order, $args) = @_;
	return few("$what $table by $key, $size rows", "SELECT array_agg(id) FROM chunked.page(NULL::$table, $size, key => '$key'$args)",
		"SELECT array_agg(id) FROM (SELECT id FROM plain WHERE $where ORDER BY $order LIMIT $size) p", $size);
}

for my $estimate (qw(false true))
{
	$node->safe_psql('postgres', "ALTER SERVER loopback OPTIONS (SET use_remote_estimate '$estimate')");
	$session->quit;
	$session = session($node);
	my $name = "remote estimate $estimate:";

	for my $table (qw(event ranged hashed mixed))
	{
		page("$name first page of", $table, 1000, 'id', 'true', 'id', '');
		page("$name page of", $table, 1000, 'id', 'id > 7000', 'id', q{, after => '{"id": 7000}'});
		page("$name page of", $table, 1000, 'kind,id', '(kind, id) > (0, 11000)', 'kind, id', q{, after => '{"kind": 0, "id": 11000}'});
		page("$name page between, of", $table, 1000, 'kind,id', '(kind, id) > (0, 15000) AND (kind, id) <= (1, 3000)', 'kind, id',
			q{, after => '{"kind": 0, "id": 15000}', upto => '{"kind": 1, "id": 3000}'});
		page("$name page in mixed directions, of", $table, 1000, 'kind,id DESC', 'kind = 0 AND id < 9000 OR kind > 0', 'kind, id DESC', q{, after => '{"kind": 0, "id": 9000}'})
			if $table ne 'mixed';
		page("$name page with nulls, of", $table, 1000, 'n,id', '(n = 3 AND id > 11000) OR n > 3 OR n IS NULL', 'n, id', q{, after => '{"n": 3, "id": 11000}'});
		page("$name page of nulls, of", $table, 1000, 'n,id', 'n IS NULL AND id > 300', 'n, id', q{, after => '{"n": null, "id": 300}'});
		page("$name filtered page of", $table, 1000, 'id', 'id > 7000 AND n = 3', 'id', q{, after => '{"id": 7000}', filter => 'n = 3'});
		few("$name page backwards of $table", qq{SELECT array_agg(id) FROM chunked.page(NULL::$table, 1000, before => '{"kind": 0, "id": 11000}', key => 'kind, id')},
			'SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM plain WHERE (kind, id) < (0, 11000) ORDER BY kind DESC, id DESC LIMIT 1000) p', 1000);

		# a count: one row from each partition
		few("$name row_count of $table", "SELECT chunked.row_count('$table')", 'SELECT 20000', 2);
		few("$name row_count of $table by a filter", "SELECT chunked.row_count('$table', filter => 'n = 3 -- and so on')", 'SELECT count(*) FROM plain WHERE n = 3', 2);
		few("$name estimate of $table", "SELECT chunked.row_count('$table', false)", 'SELECT 20000', 2);

		# a boundary: no more than the chunk's keys; of a foreign table by itself, its own alone
		my $boundary = $table eq 'event' ? 4 : 1000;
		few("$name chunk of $table", qq{SELECT upto, row_count FROM chunked.next_chunk('$table', 1000, after => '{"kind": 0, "id": 11000}', key => 'kind, id')},
			q{SELECT '{"id": "13000", "kind": "0"}', 1000}, $boundary);
		few("$name last chunk of $table", qq{SELECT upto, row_count FROM chunked.next_chunk('$table', 1000, after => '{"kind": 1, "id": 19001}', key => 'kind, id')},
			q{SELECT '{"id": "19999", "kind": "1"}', 499}, $boundary);
		few("$name filtered chunk of $table", qq{SELECT upto, row_count FROM chunked.next_chunk('$table', 500, after => '{"id": 7000}', key => 'id', filter => 'n = 3')},
			q{SELECT '{"id": "10496"}', 500}, $boundary);
		few("$name split of $table", "SELECT count(*), sum(row_count) FROM chunked.split('$table', 4, key => 'id')", 'SELECT 4, 20000', $table eq 'event' ? 10 : 20000);
		few("$name seek in $table", "SELECT chunked.seek('$table', 9000, key => 'id')", q{SELECT '{"id": "9000"}'}, $table eq 'event' ? 2 : 9000);
		# (what can be had of a partition is a fetch_size of 100, where they are not queried one by one)
		few("$name bounds of $table", "SELECT * FROM chunked.bounds('$table', 'kind, id')", q{SELECT '{"id": "2", "kind": "0"}', '{"id": "19999", "kind": "1"}'},
			{ event => 2, hashed => 8, ranged => 8, mixed => 400 }->{$table});
	}
	# where the rows are many and spread evenly, they do not come here even then
	few("$name seek far into hashed", q{SELECT chunked.seek('hashed', 16001, key => 'id')}, q{SELECT '{"id": "16001"}'}, 50);
	few("$name chunk of many rows of hashed", q{SELECT upto, row_count FROM chunked.next_chunk('hashed', 12003, key => 'id DESC')}, q{SELECT '{"id": "7998"}', 12003}, 50);
	page("$name small page of", 'event', 10, 'kind,id', '(kind, id) > (0, 11000)', 'kind, id', q{, after => '{"kind": 0, "id": 11000}'});
	# of partitions in the key's order, the one at hand is queried alone, with the LIMIT
	for my $table (qw(ranged mixed))
	{
		page("$name small page of", $table, 10, 'id', 'id > 7000', 'id', q{, after => '{"id": 7000}'});
		page("$name small page of", $table, 10, 'id', 'id > 11000', 'id', q{, after => '{"id": 11000}'});
		page("$name small page over a boundary of", $table, 10, 'id', 'id > 9995', 'id', q{, after => '{"id": 9995}'});
		page("$name small filtered page of", $table, 10, 'id DESC', 'id < 3000 AND n = 3', 'id DESC', q{, after => '{"id": 3000}', filter => 'n = 3'});
		few("$name small page backwards of $table", qq{SELECT array_agg(id) FROM chunked.page(NULL::$table, 10, before => '{"id": 10005}', key => 'id')},
			'SELECT array_agg(i) FROM generate_series(9995, 10004) i', 10);
		few("$name bounds of $table", "SELECT * FROM chunked.bounds('$table', 'id')", q{SELECT '{"id": "1"}', '{"id": "20000"}'}, 2);
	}
	few("$name numbered page of event", q{SELECT array_agg(id) FROM chunked.paginate(NULL::event, 20, 100, 30, key => 'id')}, 'SELECT array_agg(i) FROM generate_series(1901, 2000) i', 100);
	few("$name last numbered page of event", q{SELECT array_agg(id) FROM chunked.paginate(NULL::event, 222, 90, 30, key => 'id')}, 'SELECT array_agg(i) FROM generate_series(19891, 20000) i', 120);
	few("$name scan_limit on event", q{SELECT count(*), sum(row_count), max(row_count) FROM chunked.chunks('event', 100, key => 'id', filter => 'n = 3', scan_limit => 500)},
		'SELECT 40, 2857, 72', 160);
	few("$name scan_limit on event, few matches", q{SELECT count(*), sum(row_count), max(row_count) FROM chunked.chunks('event', 100, key => 'id', filter => 'id > 19000 AND n = 3', scan_limit => 5000)},
		'SELECT 5, 143, 100', 40);
}

# Every row once, whatever ends a chunk, ties too
for my $table (qw(event ranged hashed mixed))
{
	for my $case ([ 'id', 3000, 7 ], [ 'kind, id', 3000, 7 ], [ 'n, id', 3000, 7 ], [ 'kind DESC, id', 3000, 7 ], [ 'kind', 3000, 2 ])
	{
		my ($key, $size, $chunks) = @$case;
		$session->query('SET client_min_messages = error');
		is($session->query("SELECT covered(\$\$chunks('$table', $size, key => '$key')\$\$, '$table')"), "$chunks chunks, 20000 rows, 20000 different, as counted", "chunks of $table by $key");
		$session->query('RESET client_min_messages');
	}
	is($session->query("SELECT covered(\$\$chunks('$table', 500, key => 'kind, id', filter => 'n = 3', scan_limit => 1000)\$\$, '$table', 'n = 3')"),
		'20 chunks, 2857 rows, 2857 different, as counted', "chunks of $table by scan_limit");
	is($session->query("SELECT covered(\$\$split('$table', 7, key => 'kind, id')\$\$, '$table')"), '7 chunks, 20000 rows, 20000 different, as counted', "split of $table");
}

# An estimate wants partitions that have been analyzed.
$node->safe_psql('postgres', join ';', map { "ANALYZE ranged_$_" } 0 .. 3);
my ($estimate, $count) = travelled(q{SELECT chunked.row_count('ranged', false)});
is("$estimate $count", '20000 0', 'then nothing is asked');

# A warning only of what is sorted here
(undef, $err) = $session->query(q{SELECT count(*) FROM chunked.page(NULL::ranged, 10, key => 't, id')});
is($err, '', 'foreign partitions sort by themselves');
(undef, $err) = $session->query(q{SELECT count(*) FROM chunked.page(NULL::mixed, 10, key => 't, id')});
like($err, qr/WARNING:  no index of "mixed" supports the order of this walk, so every page or chunk reads and sorts all of its partitions that are not foreign/, 'others do not');

# What the caller may not see of a partition by its name is counted, and read, through the parent.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE reader;
GRANT SELECT ON hashed, ranged TO reader;
GRANT USAGE ON SCHEMA chunked TO reader;
CREATE TABLE ruled (LIKE hashed) PARTITION BY LIST ((id % 4));
CREATE FOREIGN TABLE ruled_0 PARTITION OF ruled FOR VALUES IN (0) SERVER loopback OPTIONS (table_name 'h0');
CREATE FOREIGN TABLE ruled_1 PARTITION OF ruled FOR VALUES IN (1) SERVER loopback OPTIONS (table_name 'h1');
CREATE POLICY half ON ruled USING (id > 10000);
ALTER TABLE ruled ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON ruled, ruled_0, ruled_1 TO reader;
SQL
$session->query('SET ROLE reader');
for my $case ([ q{chunked.row_count('hashed')}, 20000 ], [ q{chunked.row_count('ruled')}, 5000 ], [ q{chunked.row_count('ruled', false)}, 5000 ],
	[ q{chunked.row_count('ruled', filter => 'n = 3')}, 714 ], [ q{sum(row_count) FROM chunked.split('ruled', 3, key => 'id')}, 5000 ],
	[ q{min(id) FROM chunked.page(NULL::ruled, 10, key => 'id')}, 10001 ], [ q{min(id) FROM chunked.page(NULL::hashed, 10, key => 'id')}, 1 ],
	[ q{(first ->> 'id')::int FROM chunked.bounds('ruled', 'id')}, 10001 ])
{
	my ($sql, $wanted) = @$case;
	is($session->query("SELECT $sql"), $wanted, "as reader: $sql");
}
$session->query('RESET ROLE');

# Nor is a filter put to a partition that might mean something else there.
for my $case ([ 'hashed.n = 3', 2857 ], [ 'public.hashed.n = 3', 2857 ], [ 'hashed IS NOT NULL', 17143 ], [ q{(SELECT hashed.kind) = 1}, 10000 ],
	[ q{(hashed).n = 3}, 2857 ], [ q{tableoid = 'hashed_1'::regclass}, 5000 ], [ q{pg_typeof(hashed)::text = 'hashed'}, 20000 ])
{
	my ($filter, $wanted) = @$case;
	is($session->query("SELECT chunked.row_count('hashed', filter => \$\$$filter\$\$)"), $wanted, "counted: $filter");
	is($session->query("SELECT count(*) FROM chunked.page(NULL::hashed, 30000, key => 'id', filter => \$\$$filter\$\$)"), $wanted, "read: $filter");
}

# Dropped columns, and partitions whose columns are numbered otherwise
$node->safe_psql('postgres', <<SQL);
CREATE TABLE odd (gone int, $columns, gone_too text) PARTITION BY LIST ((id % 4));
ALTER TABLE odd DROP COLUMN gone, DROP COLUMN gone_too;
CREATE FOREIGN TABLE odd_0 (t text COLLATE "C" NOT NULL, n int, id int NOT NULL, kind int NOT NULL) SERVER loopback OPTIONS (table_name 'h0');
ALTER TABLE odd ATTACH PARTITION odd_0 FOR VALUES IN (0);
CREATE FOREIGN TABLE odd_1 PARTITION OF odd FOR VALUES IN (1) SERVER loopback OPTIONS (table_name 'h1');
SQL
is($session->query(q{SELECT array_agg(ROW(id, kind, n, t)::plain) FROM chunked.page(NULL::odd, 5, after => '{"id": 100}', key => 'id')}),
	$session->query('SELECT array_agg(p) FROM (SELECT p FROM plain p WHERE id > 100 AND id % 4 < 2 ORDER BY id LIMIT 5) q'), 'rows of odd partitions');

$session->quit;
$node->stop;
done_testing();
