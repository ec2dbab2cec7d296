# The extension as an object: created by an ordinary role, dumped and restored,
# dropped without a trace.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('extension');
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE creator LOGIN;
CREATE ROLE walker LOGIN;
CREATE DATABASE trusted;
GRANT CREATE ON DATABASE trusted TO creator;
CREATE DATABASE restored;
SQL

# as(ROLE, DATABASE, SQL): (output, messages)
sub as
{
	my ($role, $database, $sql) = @_;
	my ($ret, $out, $err) = $node->psql($database, $sql, extra_params => [ '-U', $role ], on_error_stop => 1);
	return ($out, $err);
}

# Trusted: whoever may CREATE in the database
my ($out, $err) = as('walker', 'trusted', 'CREATE EXTENSION pg_chunked');
like($err, qr/permission denied/, 'not without CREATE on the database');
($out, $err) = as('creator', 'trusted', 'CREATE EXTENSION pg_chunked');
is($err, '', 'created by an ordinary role');
is($node->safe_psql('trusted', q{SELECT count(*) FROM pg_proc p WHERE pronamespace = 'chunked'::regnamespace AND (prosecdef OR obj_description(p.oid) IS NULL)}),
	0, 'no function runs with rights of its own, and each has a comment');
$node->safe_psql('trusted', 'CREATE SCHEMA mine AUTHORIZATION walker');
($out, $err) = as('walker', 'trusted', <<'SQL');
CREATE TABLE mine.event (id int PRIMARY KEY, n int);
INSERT INTO mine.event SELECT i, i % 10 FROM generate_series(1, 100) i;
SELECT count(*) FROM chunked.page(NULL::mine.event, 10, after => '{"id": 5}');
SELECT count(*) FROM chunked.chunks('mine.event', 30);
SQL
is($out, "10\n4", 'and used by another');
($out, $err) = as('walker', 'trusted', 'DROP EXTENSION pg_chunked');
like($err, qr/must be owner of extension/, 'but not dropped');

# Objects of the database that stand on it
$node->safe_psql('trusted', <<'SQL');
CREATE VIEW mine.first_page AS SELECT * FROM chunked.page(NULL::mine.event, 5, key => '{n DESC}');
CREATE TABLE mine.todo AS SELECT * FROM chunked.chunks('mine.event', 25, alias => 'e');
CREATE FUNCTION mine.next(place jsonb) RETURNS SETOF mine.event BEGIN ATOMIC SELECT * FROM chunked.page(NULL::mine.event, 5, place); END;
SQL
my $state = q{SELECT * FROM mine.first_page; SELECT * FROM mine.todo; SELECT * FROM mine.next('{"id": 50}'); SELECT chunked.bounds('mine.event')};
my $before = $node->safe_psql('trusted', $state);

# Plain and custom dumps, restored by a superuser, and the extension again by dump order
my $dir = PostgreSQL::Test::Utils::tempdir();
command_ok([ 'pg_dump', '-d', $node->connstr('trusted'), '-f', "$dir/plain.sql" ], 'pg_dump');
my $dump = slurp_file("$dir/plain.sql");
like($dump, qr/^CREATE EXTENSION IF NOT EXISTS pg_chunked WITH SCHEMA chunked;$/m, 'the dump creates the extension');
unlike($dump, qr/CREATE (FUNCTION|TYPE) chunked\./, 'and none of its objects');
command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', "$dir/plain.sql" ], 'restored');
is($node->safe_psql('restored', $state), $before, 'and all is as it was');
is($node->safe_psql('restored', q{SELECT count(*) FROM mine.event e, mine.todo t WHERE t.number = 2 AND t.upto ->> 'id' = e.id::text}), 1, 'chunks that were kept point into the table');
command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('trusted'), '-f', "$dir/custom" ], 'pg_dump, custom');
$node->safe_psql('postgres', 'DROP DATABASE restored');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('restored'), "$dir/custom" ], 'pg_restore');
is($node->safe_psql('restored', $state), $before, 'and all is as it was');

# Dropped
($out, $err) = as('creator', 'trusted', 'DROP EXTENSION pg_chunked');
like($err, qr/cannot drop extension pg_chunked because other objects depend on it/, 'views and kept chunks hold it');
my $session = session($node, 'restored');
is($session->query(q|SELECT count(*) FROM chunked.page(NULL::mine.event, 5)|), 5, 'a session that walks');
$node->safe_psql('restored', 'DROP EXTENSION pg_chunked CASCADE');
# The server keeps the schema of an extension, even one that it made.
is($node->safe_psql('restored', q{SELECT count(*) FROM pg_proc p, pg_type t WHERE 'chunked'::regnamespace IN (p.pronamespace, t.typnamespace)}), 0, 'nothing is left of it');
is($node->safe_psql('restored', q{SELECT count(*) FROM mine.event}), 100, 'the data do not');
($out, $err) = $session->query(q|SELECT FROM chunked.page(NULL::mine.event, 5)|);
like($err, qr/function chunked.page\(mine.event, integer\) does not exist/, 'the session knows');
$node->safe_psql('restored', 'CREATE EXTENSION pg_chunked');
is($session->query(q|SELECT count(*) FROM chunked.page(NULL::mine.event, 5)|), 5, 'and walks when it is there again');
$session->quit;

# Where it lies
$node->safe_psql('postgres', 'DROP EXTENSION pg_chunked');
($out, $err) = as('creator', 'trusted', 'SELECT extversion FROM pg_extension WHERE extname = \'pg_chunked\'');
like($out, qr/^\d+\.\d+$/, 'it has a version');
$node->psql('postgres', 'CREATE EXTENSION pg_chunked SCHEMA public', stderr => \$err);
like($err, qr/must be installed in schema "chunked"/, 'it lies in its own schema alone');
$node->psql('postgres', 'CREATE FUNCTION chunked.page_support(internal) RETURNS internal LANGUAGE internal AS \'textlike_support\'; CREATE EXTENSION pg_chunked', stderr => \$err);
like($err, qr/function "page_support" already exists/, 'and takes over nobody\'s objects');

$node->stop;
done_testing();
