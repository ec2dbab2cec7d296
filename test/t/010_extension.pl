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
CREATE VIEW mine.first_page AS SELECT * FROM chunked.page(NULL::mine.event, 5, key => 'n DESC');
CREATE TABLE mine.todo AS SELECT * FROM chunked.chunks('mine.event', 25, alias => 'e');
CREATE FUNCTION mine.next(place jsonb) RETURNS SETOF mine.event BEGIN ATOMIC SELECT * FROM chunked.page(NULL::mine.event, 5, place); END;
SQL
my $state = q{SELECT * FROM mine.first_page; SELECT * FROM mine.todo; SELECT * FROM mine.next('{"id": 50}'); SELECT chunked.bounds('mine.event')};
my $before = $node->safe_psql('trusted', $state);

# Plain and custom dumps, restored by a superuser, and the extension again by dump order
my $dir = PostgreSQL::Test::Utils::tempdir();
command_ok([ 'pg_dump', '-d', $node->connstr('trusted'), '-f', "$dir/plain.sql" ], 'pg_dump');
my $dump = slurp_file("$dir/plain.sql");
like($dump, qr/^CREATE EXTENSION IF NOT EXISTS pg_chunked WITH SCHEMA pg_catalog;$/m, 'the dump creates the extension');
unlike($dump, qr/CREATE (SCHEMA chunked|(FUNCTION|TYPE|TABLE) chunked\.)/, 'and none of its objects, its schema included');
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
is($node->safe_psql('restored', q{SELECT count(*) FROM pg_namespace WHERE nspname = 'chunked'}), 0, 'nothing is left of it, not even its schema');
is($node->safe_psql('restored', q{SELECT count(*) FROM mine.event}), 100, 'the data do not');
($out, $err) = $session->query(q|SELECT FROM chunked.page(NULL::mine.event, 5)|);
like($err, qr/schema "chunked" does not exist/, 'the session knows');
$node->safe_psql('restored', 'CREATE EXTENSION pg_chunked');
is($session->query(q|SELECT count(*) FROM chunked.page(NULL::mine.event, 5)|), 5, 'and walks when it is there again');
$session->quit;

# Where it lies
$node->safe_psql('postgres', 'DROP EXTENSION pg_chunked');
($out, $err) = as('creator', 'trusted', 'SELECT extversion FROM pg_extension WHERE extname = \'pg_chunked\'');
like($out, qr/^\d+\.\d+$/, 'it has a version');
$node->psql('postgres', 'CREATE EXTENSION pg_chunked SCHEMA public', stderr => \$err);
like($err, qr/must be installed in schema "pg_catalog"/, 'it lies in its own schema alone');
$node->psql('postgres', 'CREATE SCHEMA chunked; CREATE EXTENSION pg_chunked', stderr => \$err);
like($err, qr/schema "chunked" already exists/, 'which it does not take over from anybody');

# Jobs in a dump: owner and relation by name, so that a missing one costs its own jobs alone
$node->safe_psql('postgres', <<'SQL');
DROP SCHEMA chunked;
CREATE ROLE "Gone-1" LOGIN;
CREATE DATABASE jobs;
CREATE DATABASE jobs_restored;
SQL
$node->safe_psql('jobs', <<'SQL');
CREATE EXTENSION pg_chunked;
CREATE SCHEMA "My Schema";
GRANT ALL ON SCHEMA "My Schema" TO PUBLIC;
SQL
for my $role ('walker', 'Gone-1')
{
	$node->safe_psql('jobs', qq{
		CREATE TABLE "My Schema"."$role""s" (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
		INSERT INTO "My Schema"."$role""s" SELECT generate_series(1, 100);
		SELECT chunked.create_job('"My Schema"."$role""s"', name => 'job', chunk_size => 10);
		SELECT chunked.create_job('"My Schema"."$role""s"', \$\$UPDATE "My Schema"."$role""s" SET n = n + 1 WHERE {chunk}\$\$, name => 'work', chunk_size => 30);
		SELECT chunked.complete_chunk('job', number, fence) FROM chunked.claim_chunk('job');
	}, extra_params => [ '-U', $role ]) if $role eq 'walker';
	next if $role eq 'walker';
	$node->safe_psql('jobs', qq{
		CREATE TABLE "My Schema".lost (id int PRIMARY KEY);
		INSERT INTO "My Schema".lost SELECT generate_series(1, 100);
		SELECT chunked.create_job('"My Schema".lost', name => name, chunk_size => 10) FROM unnest('{job,other}'::text[]) name;
	}, extra_params => [ '-U', $role ]);
}
# renamed since, and a relation that will be missing
$node->safe_psql('jobs', 'ALTER ROLE walker RENAME TO "Walker 2"; CREATE TABLE dropped (id int PRIMARY KEY); INSERT INTO dropped VALUES (1)');
$node->safe_psql('jobs', q{SELECT chunked.create_job('dropped', name => 'dropped')});
command_ok([ 'pg_dump', '-d', $node->connstr('jobs'), '-T', 'public.dropped', '-f', "$dir/jobs.sql" ], 'pg_dump, jobs');
my $jobs = slurp_file("$dir/jobs.sql");
like($jobs, qr/\t"Walker 2"\t"My Schema"\."walker""s"\t/, 'owner and relation stand there by name');
$node->safe_psql('jobs', 'DROP OWNED BY "Gone-1"; DROP ROLE "Gone-1"');
$node->psql('jobs_restored', "\\i $dir/jobs.sql", stderr => \$err, on_error_stop => 0);
like($err, qr/WARNING:  role "Gone-1" does not exist/, 'a role is missing');
like($err, qr/WARNING:  relation public.dropped does not exist/, 'a relation is missing');
unlike($err, qr/ERROR:  (?!role "Gone-1" does not exist)/, 'and nothing else goes wrong');
is($node->safe_psql('jobs_restored', 'SELECT name, owner, relation FROM chunked.jobs ORDER BY id'), <<'ROWS' =~ s/\n\z//r, 'all jobs are there');
job|"Walker 2"|"My Schema"."walker""s"
work|"Walker 2"|"My Schema"."walker""s"
job|-|"My Schema".lost
other|-|"My Schema".lost
dropped|postgres|-
ROWS
($out, $err) = as('Walker 2', 'jobs_restored', <<'SQL');
SET client_min_messages = warning;
CALL chunked.run_job('work');
SELECT sum(n), count(*) FROM "My Schema"."walker""s";
SELECT number, after FROM chunked.claim_chunk('job');
SQL
is($out, "100|100\n2|{\"id\": \"10\"}", 'and go on') or diag $err;
$node->psql('jobs_restored', q{SELECT chunked.claim_chunk('other')}, stderr => \$err);
like($err, qr/belongs to a role that was dropped.*HINT:  A superuser can give it to another role/s, 'whose owner is gone');
is($node->safe_psql('jobs_restored', q{SELECT chunked.alter_job('other', owner => 'creator'); SELECT owner FROM chunked.jobs WHERE name = 'other'}), "\ncreator", 'gets another');
$node->psql('jobs_restored', q{SELECT chunked.claim_chunk('dropped')}, stderr => \$err);
like($err, qr/the relation of job "dropped" is gone/, 'whose relation is gone');
is($node->safe_psql('jobs_restored', q{SELECT chunked.drop_job('dropped'); SELECT count(*) FROM chunked.jobs}), "\n4", 'can be dropped');
# dumped once more, nobody's jobs stay nobody's
command_ok([ 'pg_dump', '-d', $node->connstr('jobs_restored'), '-f', "$dir/again.sql" ], 'pg_dump, of what was restored');
like(slurp_file("$dir/again.sql"), qr/\tjob\t-\t"My Schema"\.lost\t/, 'no oid in it');

# Columns of a key that had other names, or other numbers, before the dump
$node->safe_psql('jobs', <<'SQL');
CREATE SCHEMA turned;
CREATE TABLE turned.numbers (gone int, id int PRIMARY KEY, val int NOT NULL UNIQUE, n int NOT NULL DEFAULT 0);
ALTER TABLE turned.numbers DROP COLUMN gone;
INSERT INTO turned.numbers SELECT i, 1001 - i FROM generate_series(1, 1000) i;
CREATE TABLE turned.names (a int NOT NULL UNIQUE, b int NOT NULL UNIQUE, n int NOT NULL DEFAULT 0);
INSERT INTO turned.names SELECT i, 1001 - i FROM generate_series(1, 1000) i;
SELECT chunked.create_job('turned.numbers', name => 'numbers', key => 'id', chunk_size => 100);
SELECT chunked.create_job('turned.names', name => 'names', key => 'a', chunk_size => 100);
CREATE TABLE turned.odd ("a,b" int, "{c}" text, t text, n int NOT NULL DEFAULT 0, PRIMARY KEY ("a,b", "{c}"));
INSERT INTO turned.odd SELECT i, 'c' || i % 2, 't' || i % 3 FROM generate_series(1, 90) i;
SELECT chunked.create_job('turned.odd', 'UPDATE turned.odd SET n = n + 1 WHERE t = ''t1'' AND "a,b" > 12 AND {chunk}', name => 'odd', chunk_size => 10,
	key => '"a,b" DESC, "{c}" COLLATE "C"', filter => 't = $2 AND "a,b" > $1', args => '["12", "t1"]');
ALTER TABLE turned.odd RENAME "{c}" TO "c"", ""d";
-- three chunks of each by a worker outside
DO $$
DECLARE c record; job text;
BEGIN
	FOREACH job IN ARRAY '{numbers,names,numbers,names,numbers,names}'::text[] LOOP
		SELECT * INTO c FROM chunked.claim_chunk(job);
		EXECUTE format('UPDATE turned.%s SET n = n + 1 WHERE %s', job, c.predicate);
		PERFORM chunked.complete_chunk(job, c.number, c.fence);
	END LOOP;
END
$$;
ALTER TABLE turned.names RENAME a TO c;
ALTER TABLE turned.names RENAME b TO a;
ALTER TABLE turned.names RENAME c TO b;
SQL
command_ok([ 'pg_dump', '-d', $node->connstr('jobs'), '-T', 'public.dropped', '-f', "$dir/turned.sql" ], 'pg_dump, of renamed key columns');
$node->safe_psql('postgres', 'CREATE DATABASE jobs_turned');
$node->psql('jobs_turned', "\\i $dir/turned.sql", stderr => \$err, on_error_stop => 0);
$node->safe_psql('jobs_turned', <<'SQL');
DO $$
DECLARE c record; job text;
BEGIN
	FOREACH job IN ARRAY '{numbers,names}'::text[] LOOP
		LOOP
			SELECT * INTO c FROM chunked.claim_chunk(job);
			EXIT WHEN c.state <> 'claimed';
			EXECUTE format('UPDATE turned.%s SET n = n + 1 WHERE %s', job, c.predicate);
			PERFORM chunked.complete_chunk(job, c.number, c.fence);
		END LOOP;
	END LOOP;
END
$$;
SQL
is($node->safe_psql('jobs_turned', "SELECT 'numbers', n, count(*) FROM turned.numbers GROUP BY n UNION ALL SELECT 'names', n, count(*) FROM turned.names GROUP BY n"),
	"numbers|1|1000\nnames|1|1000", 'restored, each row is done once');
is($node->safe_psql('jobs_turned', q{SELECT key, filter, args FROM chunked.jobs WHERE name = 'odd'}), '"a,b" DESC, "{c}" COLLATE pg_catalog."C"|t = $2 AND "a,b" > $1|["12", "t1"]',
	'key, filter and its values are there');
is($node->safe_psql('jobs_turned', <<'SQL'), "10|10\n10|10\n6|6\n26|26", 'and mean what they meant');
SET client_min_messages = warning;
CALL chunked.run_job('odd');
SELECT row_count, rows_affected FROM chunked.job_chunks WHERE job = 'odd' ORDER BY number;
SELECT count(*) FILTER (WHERE n = 1), count(*) FILTER (WHERE t = 't1' AND "a,b" > 12) FROM turned.odd;
SQL

# An upgrade: what its script makes is a superuser's as well, whoever asks for it
my $sharedir = qx(pg_config --sharedir);
chomp $sharedir;
SKIP:
{
	skip 'no right to add an upgrade script', 2 unless -w "$sharedir/extension";
	append_to_file("$sharedir/extension/pg_chunked--1.0--1.0.test.sql", 'CREATE TABLE chunked.later (id int);');
	($out, $err) = as('creator', 'trusted', q{ALTER EXTENSION pg_chunked UPDATE TO '1.0.test'});
	unlink "$sharedir/extension/pg_chunked--1.0--1.0.test.sql";
	is($err, '', 'upgraded by the role that created it');
	is($node->safe_psql('trusted', q{SELECT rolsuper FROM pg_class c JOIN pg_roles r ON r.oid = relowner WHERE c.oid = 'chunked.later'::regclass}), 't', 'what is new is a superuser\'s');
}

$node->stop;
done_testing();
