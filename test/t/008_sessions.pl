# What a session keeps follows what other sessions do: columns, indexes, names,
# partitions and types changed between two calls; and calls in parallel plans.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use Test::More;

my $node = start_node('sessions');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE event (id int PRIMARY KEY, a int NOT NULL, n int);
INSERT INTO event SELECT i, i % 100, i FROM generate_series(1, 20000) i;
CREATE INDEX by_a ON event (a, id);
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
INSERT INTO part SELECT generate_series(1, 9);
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE feeling (m mood PRIMARY KEY);
INSERT INTO feeling VALUES ('sad'), ('happy');
CREATE FUNCTION matches(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 % 2 = 0';
ANALYZE;
SQL

my $walker = explained(session($node));
my $other = session($node);

# change DDL: by the other session, between two calls of this one
sub change
{
	my ($ddl) = @_;
	my (undef, $message) = $other->query($ddl);
	die "$ddl: $message" if $message =~ /ERROR/;
	return;
}

# index_used CALL: by its queries
sub index_used
{
	my ($call) = @_;
	my (undef, @plans) = plans($walker, "SELECT FROM chunked.$call");
	my %used = map { $_ => 1 } map { $_->{text} =~ /Scan(?: Backward)? using (\w+)/g } @plans;
	return join ' ', (map { $_->{type} } nodes_of_type('Sort|Seq Scan', @plans)), sort keys %used;
}

sub rows
{
	my ($sql) = @_;
	my ($rows, $messages) = $walker->query($sql);
	my ($error) = $messages =~ /^ERROR:  (.*)/m;
	return defined $error ? "ERROR: $error" : $rows;
}

# Of what is read without queries, nobody sees any
$walker->query('SET pg_chunked.native = off');

# What watches queries sees how long those of a walk take
my (undef, $log) = $walker->query('SELECT count(*) FROM chunked.page(NULL::event, 5000); SELECT count(*) FROM chunked.page(NULL::event, 5000, before => \'{"id": 9000}\')');
my @durations = $log =~ /duration: (\S+) ms/g;
is(scalar @durations, 4, 'two pages, of a query each');
is(scalar(grep { $_ == 0 } @durations), 0, 'none takes no time');

# Indexes
my $by_a = q|page(NULL::event, 3, after => '{"a": 50, "id": 50}', key => 'a')|;
is(index_used($by_a), 'by_a', 'the index that is there');
change('DROP INDEX by_a');
like(index_used($by_a), qr/Sort/, 'index dropped');
my (undef, $warning) = $walker->query("SELECT FROM chunked.$by_a");
like($warning, qr/WARNING:  no index of "event" supports the order/, 'a warning from then on');
change('CREATE INDEX CONCURRENTLY again_by_a ON event (a, id)');
is(index_used($by_a), 'again_by_a', 'index created');
(undef, $warning) = $walker->query("SELECT FROM chunked.$by_a");
unlike($warning, qr/WARNING/, 'no warning any more');
change('REINDEX INDEX CONCURRENTLY again_by_a; ALTER INDEX again_by_a RENAME TO by_a');
is(index_used($by_a), 'by_a', 'index made anew and renamed');
change('CREATE INDEX by_n ON event (n)');
is(rows(q|SELECT chunked.position_of(ROW(1, 2, 3)::event)|), '{"id": "1"}', 'a new index changes no key');

# The primary key itself
change('ALTER TABLE event DROP CONSTRAINT event_pkey');
like(rows('SELECT FROM chunked.page(NULL::event, 1)'), qr/ERROR: relation "event" has no unique key to walk by/, 'primary key dropped');
change('ALTER TABLE event ADD PRIMARY KEY (a, id)');
is(rows(q|SELECT chunked.position_of(p) FROM chunked.page(NULL::event, 1) p|), '{".": "a, id", "a": "0", "id": "100"}', 'another primary key');
like(rows(q|SELECT FROM chunked.page(NULL::event, 1, after => '{"id": 1}')|), qr/ERROR: after lacks key column "a"/, 'a position of the old one');
change('ALTER TABLE event DROP CONSTRAINT event_pkey, ADD PRIMARY KEY (id)');
is(rows(q|SELECT id FROM chunked.page(NULL::event, 1, after => '{"id": 1}')|), 2, 'and back');

# Columns: added, dropped, of another type, renamed
my $second = q|SELECT * FROM chunked.page(NULL::event, 1, after => '{"id": 1}')|;
is(rows($second), '2|2|2', 'the row');
change('ALTER TABLE event ADD added text DEFAULT \'x\'');
is(rows($second), '2|2|2|x', 'column added');
change('ALTER TABLE event DROP n');
is(rows($second), '2|2|x', 'column dropped');
is(rows(q|SELECT p.added FROM chunked.page(NULL::event, 1, filter => 'added = ''x''') p|), 'x', 'a filter over it');
like(rows(q|SELECT FROM chunked.page(NULL::event, 1, filter => 'n = 1')|), qr/ERROR: column "n" does not exist/, 'a filter over the dropped one');
change('ALTER TABLE event ALTER id TYPE text');
is(rows(q|SELECT id FROM chunked.page(NULL::event, 2, after => '{"id": "2"}')|), "20\n200", 'type changed: text order');
change('ALTER TABLE event ALTER id TYPE bigint USING id::bigint');
is(rows(q|SELECT id FROM chunked.page(NULL::event, 2, after => '{"id": "2"}')|), "3\n4", 'and back');
change('ALTER TABLE event RENAME id TO event_id');
is(rows(q|SELECT chunked.position_of(p) FROM chunked.page(NULL::event, 1) p|), '{"event_id": "1"}', 'column renamed');
change('ALTER TABLE event RENAME event_id TO id; ALTER TABLE event ALTER a DROP NOT NULL');
change('UPDATE event SET a = NULL WHERE id = 7');
is(rows(q|SELECT id FROM chunked.page(NULL::event, 1, after => '{"a": 99, "id": 19999}', key => 'a')|), 7, 'a column that may hold nulls now');

# Names
change('ALTER TABLE event RENAME TO occurrence; CREATE TABLE event (id int PRIMARY KEY); INSERT INTO event VALUES (42)');
is(rows('SELECT * FROM chunked.page(NULL::event, 5)'), 42, 'another table of the same name');
is(rows('SELECT id FROM chunked.page(NULL::occurrence, 1)'), 1, 'the renamed one');
change('CREATE SCHEMA archive; ALTER TABLE occurrence SET SCHEMA archive');
is(rows('SELECT id FROM chunked.page(NULL::archive.occurrence, 1)'), 1, 'moved to another schema');
change('ALTER SCHEMA archive RENAME TO past');
is(rows('SELECT id FROM chunked.page(NULL::past.occurrence, 1)'), 1, 'its schema renamed');
change('DROP TABLE event');
like(rows('SELECT FROM chunked.page(NULL::event, 1)'), qr/ERROR: type "event" does not exist/, 'dropped');
change('CREATE TABLE event (id text PRIMARY KEY); INSERT INTO event VALUES (\'new\')');
is(rows('SELECT * FROM chunked.page(NULL::event, 5)'), 'new', 'and there again');
is(rows(q|SELECT row_count FROM chunked.chunks('event')|), 1, 'chunks of it');

# Prepared statements of the client's own
$walker->query(q|PREPARE page AS SELECT * FROM chunked.page(NULL::event, 1)|);
is(rows('EXECUTE page'), 'new', 'prepared');
change('ALTER TABLE event ALTER id TYPE varchar(10)');
is(rows(q|SELECT * FROM chunked.page(NULL::event, 1)|), 'new', 'type modifier changed');
like(rows('EXECUTE page'), qr/^(new|ERROR: .*type.*)$/, 'the prepared statement as the server has it');

# Partitions, types, functions, views
is(rows('SELECT count(*) FROM chunked.page(NULL::part)'), 9, 'partitions');
change('CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20); INSERT INTO part VALUES (15)');
is(rows('SELECT count(*) FROM chunked.page(NULL::part)'), 10, 'partition added');
change('ALTER TABLE part DETACH PARTITION part_1');
is(rows('SELECT count(*) FROM chunked.page(NULL::part)'), 1, 'partition detached');
change('ALTER TABLE part ATTACH PARTITION part_1 FOR VALUES FROM (0) TO (10)');
is(rows('SELECT count(*) FROM chunked.page(NULL::part)'), 10, 'and attached');
change('DROP TABLE part_1');
is(rows('SELECT * FROM chunked.page(NULL::part)'), 15, 'partition dropped');
is(rows(q|SELECT * FROM chunked.page(NULL::feeling, 5, after => '{"m": "sad"}')|), 'happy', 'an enum');
change(q|ALTER TYPE mood ADD VALUE 'so-so' BEFORE 'happy'|);
change(q|INSERT INTO feeling VALUES ('so-so')|);
is(rows(q|SELECT * FROM chunked.page(NULL::feeling, 5, after => '{"m": "sad"}')|), "so-so\nhappy", 'value added');
change(q|ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'|);
is(rows(q|SELECT chunked.position_of(p) FROM chunked.page(NULL::feeling, 1) p|), '{"m": "blue"}', 'value renamed');
is(rows(q|SELECT count(*) FROM chunked.page(NULL::past.occurrence, 100000, filter => 'matches(id::int)')|), 10000, 'a function in a filter');
change('CREATE OR REPLACE FUNCTION matches(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS \'SELECT $1 % 4 = 0\'');
is(rows(q|SELECT count(*) FROM chunked.page(NULL::past.occurrence, 100000, filter => 'matches(id::int)')|), 5000, 'the function replaced');
change('ALTER FUNCTION matches(int) RENAME TO matched');
like(rows(q|SELECT count(*) FROM chunked.page(NULL::past.occurrence, 10, filter => 'matches(id::int)')|), qr/ERROR: function matches\(integer\) does not exist/, 'the function gone');
change('CREATE VIEW visible AS SELECT id, a FROM past.occurrence WHERE id > 10');
is(rows(q|SELECT id FROM chunked.page(NULL::visible, 1, key => 'id')|), 11, 'a view');
change('DROP VIEW visible; CREATE VIEW visible AS SELECT id, a FROM past.occurrence WHERE id > 20');
is(rows(q|SELECT id FROM chunked.page(NULL::visible, 1, key => 'id')|), 21, 'a view replaced');

# Rights and row security, which a kept plan must not outlive
change(q|CREATE ROLE reader; GRANT USAGE ON SCHEMA past TO reader; GRANT SELECT ON past.occurrence TO reader|);
is(rows('SET ROLE reader; SELECT id FROM chunked.page(NULL::past.occurrence, 1)'), 1, 'another role');
change('ALTER TABLE past.occurrence ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON past.occurrence TO reader USING (id > 1000)');
is(rows('SELECT id FROM chunked.page(NULL::past.occurrence, 1)'), 1001, 'row security switched on');
is(rows(q|SELECT first FROM chunked.bounds('past.occurrence')|), '{"id": "1001"}', 'in bounds, too');
is(rows('RESET ROLE; SELECT id FROM chunked.page(NULL::past.occurrence, 1)'), 1, 'and not for the owner');
change('REVOKE SELECT ON past.occurrence FROM reader');
like(rows('SET ROLE reader; SELECT id FROM chunked.page(NULL::past.occurrence, 1)'), qr/ERROR: permission denied for table occurrence/, 'right taken away');
is(rows('RESET ROLE; SELECT 1'), 1, 'the session is well');

# A change in the middle of a statement that streams chunks waits for its end,
# and one by the same transaction is seen.
$walker->query(q|BEGIN; DECLARE c CURSOR FOR SELECT (chunked.chunks('past.occurrence', 1000)).number; FETCH 2 FROM c|);
$other->send(q|ALTER TABLE past.occurrence ADD late int|);
is(rows('FETCH 2 FROM c'), "3\n4", 'chunks stream on while another session waits to ALTER');
is(rows('COMMIT; SELECT 1'), 1, 'and lets it after the end');
(undef, my $message) = $other->receive;
is($message, '', 'altered');
is(rows(q|BEGIN; ALTER TABLE past.occurrence DROP late; ALTER TABLE past.occurrence RENAME id TO number; SELECT chunked.position_of(p) FROM chunked.page(NULL::past.occurrence, 1) p|),
	'{"number": "1"}', 'a change by the own transaction');
is(rows(q|ROLLBACK; SELECT chunked.position_of(p) FROM chunked.page(NULL::past.occurrence, 1) p|), '{"id": "1"}', 'undone by its rollback');

# Parallel plans around a walk
my $force = $walker->query('SELECT name FROM pg_settings WHERE name IN (\'force_parallel_mode\', \'debug_parallel_query\')');
change('CREATE TABLE big AS SELECT i AS id FROM generate_series(1, 50000) i; ALTER TABLE big ADD PRIMARY KEY (id); ANALYZE big');
$walker->query("SET auto_explain.log_min_duration = -1; SET $force = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2");
my $join = q|SELECT count(*), min(b.id) FROM big b JOIN chunked.page(NULL::past.occurrence, 5000, after => '{"id": 1000}') p ON p.id = b.id WHERE b.id % 2 = 0|;
like(scalar $walker->query("EXPLAIN $join"), qr/Gather|Parallel/, 'a parallel plan is made');
is(rows($join), '2500|1002', 'a page joined in a parallel query');
is(rows(q|SELECT count(*) FROM (SELECT chunked.chunks('past.occurrence', 100)) c|), 200, 'chunks under forced parallel mode');
is(rows(q|SELECT count(*) FROM big b WHERE b.id <= (SELECT row_count FROM chunked.next_chunk('past.occurrence', 700))|), 700, 'a chunk in a parallel filter');
is(rows(q|SELECT count(DISTINCT chunked.position_of(o)) FROM past.occurrence o|), 20000, 'position_of() for every row of a parallel scan');

$_->quit for $walker, $other;
$node->stop;
done_testing();
