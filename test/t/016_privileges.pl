# Nobody's code runs with more rights than its owner's: what a role that is no
# superuser tries in order to have its code executed as another role.
#
# Wherever code of an attacker's gets to run it calls his probe(), which writes
# to the server's log who it runs as, and then tries each way to become somebody
# else. (To the log, since errors undo whatever is written to a table.) A test
# here looks at what was logged while its attack went on: that the code ran, as
# its owner and in whose session, or that the call was refused and it did not
# run. The last test looks at the whole log.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

# Autovacuum, once it is turned on, is to look at tables that ask for it alone.
my $node = start_node('privileges',
	'max_worker_processes = 16', 'max_parallel_maintenance_workers = 0', 'log_statement = none',
	'autovacuum_naptime = 1s', 'autovacuum_vacuum_threshold = 1000000000',
	'autovacuum_vacuum_insert_threshold = -1', 'autovacuum_analyze_threshold = 1000000000');
my $super = $node->safe_psql('postgres', 'SELECT current_user');
my $major = $node->safe_psql('postgres', q{SELECT current_setting('server_version_num')::int / 10000});

#
# What the tests share
#

# as(ROLE, SQL [, DATABASE]): (output, messages); ends at the first error
sub as
{
	my ($role, $sql, $database) = @_;
	my ($ret, $out, $err) = $node->psql($database // 'postgres', $sql,
		extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ], on_error_stop => 1);
	return ($out, $err);
}

# value_as_superuser(SQL [, DATABASE])
sub value_as_superuser
{
	my ($sql, $database) = @_;
	my ($out, $err) = as($super, $sql, $database);
	diag("$sql: $err") if $err =~ /^\S*\s*(?:ERROR|FATAL):/m;
	return $out;
}

# refused(SQLSTATES, MESSAGES, NAME): the first error is one of these
sub refused
{
	my ($states, $err, $name) = @_;
	return like($err, qr/^[^\n]*(?:ERROR|FATAL):  (?:$states): /m, $name);
}

# unrefused(MESSAGES, NAME): there is no error
sub unrefused
{
	my ($err, $name) = @_;
	return unlike($err, qr/(?:ERROR|FATAL): /, $name);
}

# comes_about(CODE): whether it returns true at last
sub comes_about
{
	my ($code) = @_;
	my $tries = 0;

	until ($code->())
	{
		return 0 if $tries++ > 1000;
		Time::HiRes::sleep(0.03);
	}
	return 1;
}

# logged(CODE): what the probes wrote meanwhile, as a list of
#	{role, tag, try, current, session, super}: whose probe, where it was called,
#		what it had tried with success, or "start", and who it then was
#	{role, tag, try, state}: what it tried was refused, and how
my @attacks;

sub logged
{
	my ($code) = @_;
	my $offset = -s $node->logfile;

	$code->();
	my @lines = probes(slurp_file($node->logfile, $offset));
	push @attacks, @lines;
	return @lines;
}

sub probes
{
	my ($log) = @_;
	my @lines;

	for (split /\n/, $log)
	{
		if (/LOG:  WHOAMI role=(\S+) tag="(.*?)" try="(.*?)" current=(\S+) session=(\S+) super=(\S)$/)
		{
			push @lines, { text => "$1: $2: $3: current $4, session $5, superuser $6",
				role => $1, tag => $2, try => $3, current => $4, session => $5, super => $6 };
		}
		elsif (/LOG:  REFUSED role=(\S+) tag="(.*?)" try="(.*?)" state=(\S+)$/)
		{
			push @lines, { role => $1, tag => $2, try => $3, state => $4 };
		}
	}
	return @lines;
}

# ran(LINES, TAG, SESSION, NAME): the code with this tag ran, as its owner, in a session
# of that role's, or of any if it is undef, and could not change who it was.
sub ran
{
	my ($lines, $tag, $session, $name) = @_;
	my @of_tag = grep { $_->{tag} eq $tag } @$lines;
	my @who = grep { defined $_->{current} } @of_tag;
	my @wrong = grep { $_->{try} ne 'start' || $_->{current} ne $_->{role} || $_->{super} ne 'f' ||
		(defined $session && $_->{session} ne $session) } @who;
	my @not_refused = grep { defined $_->{state} && $_->{try} =~ /^(?:RE)?SET/ && $_->{state} ne '42501' } @of_tag;

	# Each probe's tries are either in @wrong or refused.
	ok(@who && !@wrong && !@not_refused, "$name: $tag: runs as its owner and cannot leave it")
		or diag(@who ? (map { "$_->{text}\n" } @wrong) : 'it did not run',
			map { "$_->{try}: $_->{state}\n" } @not_refused);
	return;
}

# not_ran(LINES, NAME [, TAG]): none of it, or of that code
sub not_ran
{
	my ($lines, $name, $tag) = @_;
	my @ran = grep { defined $_->{current} && (!defined $tag || $_->{tag} eq $tag) } @$lines;

	return is(join('', map { "$_->{text}\n" } @ran), '', defined $tag ? "$name: $tag: does not run" : "$name: no code runs");
}

# attacker(ROLE [, DATABASE]): a schema of the role's own, with
#	probe(tag)			logs and tries
#	touch(tag, value)	immutable, as far as the server can tell: the value, by way of probe()
#	defer(tag)			tries to have probe() called when the transaction commits, and workers started
sub attacker
{
	my ($role, $database) = @_;
	my $sql = <<'SQL';
CREATE SCHEMA @ROLE AUTHORIZATION @ROLE;
SET ROLE @ROLE;
GRANT USAGE ON SCHEMA @ROLE TO PUBLIC;
CREATE PROCEDURE @ROLE.who(tag text, attempt text) LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	RAISE LOG 'WHOAMI role=@ROLE tag="%" try="%" current=% session=% super=%', tag, attempt, current_user, session_user,
		(SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
END $$;
CREATE FUNCTION @ROLE.leave(tag text) RETURNS void LANGUAGE plpgsql SET role = 'none' AS $$BEGIN CALL @ROLE.who(tag, 'SET of a function'); END$$;
CREATE FUNCTION @ROLE.probe(tag text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
	attempt text;
BEGIN
	CALL @ROLE.who(tag, 'start');
	FOREACH attempt IN ARRAY ARRAY['RESET ROLE', 'SET ROLE NONE', 'SET LOCAL ROLE NONE', 'SET ROLE @SUPER',
		'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT', 'SET SESSION AUTHORIZATION @SUPER',
		'SET by set_config', 'SET of a function']
	LOOP
		BEGIN
			CASE attempt
				WHEN 'SET by set_config' THEN PERFORM set_config('role', 'none', false);
				WHEN 'SET of a function' THEN PERFORM @ROLE.leave(tag);
				ELSE EXECUTE attempt;
			END CASE;
			CALL @ROLE.who(tag, attempt);
			-- with what was set
			RAISE EXCEPTION USING ERRCODE = 'UNDO1';
		EXCEPTION WHEN OTHERS THEN
			IF SQLSTATE <> 'UNDO1' THEN
				RAISE LOG 'REFUSED role=@ROLE tag="%" try="%" state=%', tag, attempt, SQLSTATE;
			END IF;
		END;
	END LOOP;
	RETURN true;
END $$;
CREATE FUNCTION @ROLE.touch(tag text, value anyelement) RETURNS anyelement IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	PERFORM @ROLE.probe(tag);
	RETURN value;
END $$;
CREATE TABLE @ROLE.later (tag text NOT NULL);
CREATE SEQUENCE @ROLE.number;
CREATE TABLE @ROLE.excluded (n bigint, tag text, EXCLUDE USING btree (@ROLE.touch('constraint deferred by ' || tag, n) WITH =) DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION @ROLE.later() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	PERFORM @ROLE.probe(NEW.tag);
	-- The second one is set off by the first, after whoever made that one immediate; so is
	-- the check of a row that another was in the way of.
	IF NEW.tag ~ '^trigger deferred by' THEN
		SET CONSTRAINTS ALL DEFERRED;
		INSERT INTO @ROLE.later VALUES ('second ' || NEW.tag);
		INSERT INTO @ROLE.excluded VALUES (nextval('@ROLE.number'), ''), (currval('@ROLE.number'), substring(NEW.tag FROM ' by (.*)'));
		DELETE FROM @ROLE.excluded WHERE tag = '';
	END IF;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON @ROLE.later DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION @ROLE.later();
CREATE FUNCTION @ROLE.defer(tag text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
	attempt text;
BEGIN
	FOREACH attempt IN ARRAY ARRAY[format('INSERT INTO @ROLE.later VALUES (%L)', 'trigger deferred by ' || tag),
		format('DECLARE c%s CURSOR WITH HOLD FOR SELECT @ROLE.probe(%L)', hashtext(tag || txid_current()) & 2147483647, 'cursor of ' || tag),
		format('SELECT chunked.start_job(%L)', 'nested')]
	LOOP
		BEGIN
			EXECUTE attempt;
		EXCEPTION WHEN OTHERS THEN
			RAISE LOG 'REFUSED role=@ROLE tag="%" try="%" state=%', tag, substring(attempt FROM '^INSERT|^DECLARE|start_job'), SQLSTATE;
		END;
	END LOOP;
	RETURN false;
END $$;
SQL
	$sql =~ s/\@ROLE/$role/g;
	$sql =~ s/\@SUPER/$super/g;
	return value_as_superuser($sql, $database);
}

# not_deferred(LINES, TAG, NAME): that code could not have anything run later, nor workers started
sub not_deferred
{
	my ($lines, $tag, $name) = @_;

	for my $try (qw(INSERT DECLARE start_job))
	{
		my @refused = grep { $_->{tag} eq $tag && $_->{try} eq $try && defined $_->{state} } @$lines;
		my @other = grep { $_->{state} ne '42501' } @refused;

		ok(@refused && !@other, "$name: $tag: $try is refused") or diag(map { "$_->{state}\n" } @other);
	}
	not_ran($lines, $name, $_) for "trigger deferred by $tag", "second trigger deferred by $tag", "constraint deferred by $tag", "cursor of $tag";
	return;
}

#
# Who they are
#

value_as_superuser(<<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN INHERIT;
CREATE ROLE carol LOGIN NOINHERIT;
CREATE ROLE mallory LOGIN;
CREATE ROLE installer LOGIN;
CREATE ROLE dbo LOGIN;
CREATE ROLE team NOLOGIN;
GRANT alice, team TO bob;
GRANT alice TO carol;
CREATE DATABASE trusted;
GRANT CREATE ON DATABASE trusted TO installer;
CREATE DATABASE owned OWNER dbo;
CREATE DATABASE squatted;
GRANT CREATE ON DATABASE squatted TO installer;
SQL
attacker($_) for qw(alice bob mallory team);

#
# The names of the ledger: those who install the extension, and own it, own nothing in it
#

for ([ 'trusted', 'installer', 'a plain user who installs it' ], [ 'owned', 'dbo', 'the owner of the database' ])
{
	my ($database, $role, $name) = @$_;

	attacker($role, $database);
	my (undef, $err) = as($role, 'CREATE EXTENSION pg_chunked', $database);
	unrefused($err, "$name: may install it");
	is(value_as_superuser(<<'SQL', $database), "$super|t|t|$role|pg_catalog", "$name: owns the extension, and nothing in it");
SELECT nspowner::regrole,
	EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_namespace'::regclass AND objid = n.oid AND deptype = 'e'),
	NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relowner <> nspowner
		UNION ALL SELECT FROM pg_proc WHERE pronamespace = n.oid AND proowner <> nspowner
		UNION ALL SELECT FROM pg_type WHERE typnamespace = n.oid AND typowner <> nspowner),
	(SELECT extowner::regrole FROM pg_extension WHERE extname = 'pg_chunked'),
	(SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_chunked')
FROM pg_namespace n WHERE nspname = 'chunked'
SQL

	for my $attempt (
		'ALTER SCHEMA chunked RENAME TO away',
		"ALTER SCHEMA chunked OWNER TO $role",
		'DROP SCHEMA chunked CASCADE',
		'GRANT CREATE ON SCHEMA chunked TO PUBLIC; CREATE VIEW chunked.planted AS SELECT 1 AS one',
		'CREATE FUNCTION chunked.run(regclass, text) RETURNS int LANGUAGE sql AS $$SELECT 1$$',
		'ALTER TABLE chunked.ledger_jobs RENAME TO away',
		'DROP TABLE chunked.ledger_chunks',
		'DROP VIEW chunked.progress',
		'ALTER VIEW chunked.progress RENAME TO away',
		'CREATE OR REPLACE FUNCTION chunked.human_time(seconds double precision) RETURNS text LANGUAGE sql AS $$SELECT 1$$',
		'ALTER FUNCTION chunked.human_time(double precision) RENAME TO away',
		"CREATE TRIGGER planted AFTER INSERT ON chunked.ledger_jobs FOR EACH ROW EXECUTE FUNCTION $role.later()",
		"CREATE POLICY planted ON chunked.ledger_jobs USING ($role.probe('policy on the ledger'))",
		"CREATE RULE planted AS ON INSERT TO chunked.ledger_jobs DO ALSO SELECT $role.probe('rule on the ledger')",
		"CREATE INDEX ON chunked.ledger_jobs ($role.touch('index on the ledger', name))",
		"CREATE TABLE $role.child () INHERITS (chunked.ledger_jobs)",
		'LOCK TABLE chunked.ledger_jobs IN SHARE MODE',
		'INSERT INTO chunked.ledger_carving (job, carved_all, chunk_size) VALUES (1, true, 1)',
		q{UPDATE chunked.ledger_jobs SET throttle = 'true'},
		'DELETE FROM chunked.ledger_chunks',
		'TRUNCATE chunked.ledger_chunks',
		q{SELECT setval('chunked.ledger_jobs_id_seq', 1)})
	{
		(undef, $err) = as($role, "BEGIN; $attempt; ROLLBACK", $database);
		refused('42501', $err, "$name: $attempt");
	}
	(undef, $err) = as($role, 'BEGIN; ALTER EXTENSION pg_chunked SET SCHEMA public; ROLLBACK', $database);
	refused('0A000|42501', $err, "$name: ALTER EXTENSION ... SET SCHEMA");

	# His own tables in place of the ledger's, as views that call his code in whatever is asked of them.
	my $plant = <<'SQL';
CREATE SCHEMA IF NOT EXISTS chunked;
GRANT USAGE ON SCHEMA chunked TO PUBLIC;
CREATE VIEW chunked.ledger_jobs AS SELECT * FROM @ROLE.jobs WHERE @ROLE.touch('planted view', id) IS NOT NULL AND @ROLE.touch('planned', 1) = 1;
CREATE VIEW chunked.ledger_carving AS SELECT * FROM @ROLE.carving WHERE @ROLE.touch('planted view', job) IS NOT NULL AND @ROLE.touch('planned', 1) = 1;
CREATE VIEW chunked.ledger_chunks AS SELECT * FROM @ROLE.chunks WHERE @ROLE.touch('planted view', job) IS NOT NULL AND @ROLE.touch('planned', 1) = 1;
SQL
	$plant =~ s/\@ROLE/$role/g;
	(undef, $err) = as($role, <<"SQL", $database);
CREATE TABLE $role.item (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO $role.item VALUES (1), (2);
-- Like the ledger's, except for types that go with the extension
DO \$\$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['jobs', 'carving', 'chunks'] LOOP
		EXECUTE (SELECT format('CREATE TABLE $role.%I (%s)', name,
				string_agg(format('%I %s', attname, CASE WHEN atttypid < 16384 THEN atttypid::regtype ELSE 'oid' END), ', ' ORDER BY attnum))
			FROM pg_attribute WHERE attrelid = ('chunked.ledger_' || name)::regclass AND attnum > 0 AND NOT attisdropped);
	END LOOP;
END \$\$;
SELECT chunked.create_job('$role.item', 'WITH s AS MATERIALIZED (SELECT pg_catalog.pg_advisory_xact_lock_shared(1)) UPDATE $role.item SET n = n + 1 FROM s WHERE {chunk}', name => 'gated');
SELECT chunked.create_job('$role.item', 'UPDATE $role.item SET n = n + 1 WHERE {chunk}', name => 'job');
SQL
	unrefused($err, "$name: prepares tables") or diag($err);

	# Renamed while a job's statement goes on, so that its next query is on other tables than its last.
	my $gate = session($node, $database);
	my $waits = sub {
		my ($type) = @_;
		return comes_about(sub { value_as_superuser("SELECT count(*) > 0 FROM pg_locks WHERE locktype = '$type' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = '$database')") eq 't' });
	};
	$gate->query('SELECT pg_advisory_lock(1)');
	my @lines = logged(sub {
		my $run = background($node, q{CALL chunked.run_job('gated')}, $database, $node->connstr($database) . " user=$role");
		ok($waits->('advisory'), "$name: a job is in the middle of a chunk");
		(undef, $err) = as($role, "BEGIN; ALTER SCHEMA chunked RENAME TO away; $plant; COMMIT", $database);
		refused('42501', $err, "$name: the schema cannot be renamed under a job");
		$gate->query('SELECT pg_advisory_unlock(1)');
		(undef, $err) = $run->ended;
	});
	not_ran(\@lines, "$name: views put in the place of the ledger by renaming its schema");
	unrefused($err, "$name: the job is done");

	# Put back what the unfixed code allows, for what follows.
	as($role, 'DROP SCHEMA chunked CASCADE; ALTER SCHEMA away RENAME TO chunked', $database)
		if value_as_superuser(q{SELECT count(*) FROM pg_namespace WHERE nspname = 'away'}, $database) > 0;

	# Dropped while a call waits for the ledger's lock, which then finds his views. Owner of
	# the extension, he may do that; and make what is his own a member of another one.
	my $owner = session($node, $database, $node->connstr($database) . " user=$role");
	$owner->query('BEGIN; DROP EXTENSION pg_chunked');
	(undef, $err) = $owner->query($plant);
	unrefused($err, "$name: may drop the extension, and then has the name");
	@lines = logged(sub {
		my $call = background($node, q{SELECT chunked.pause_job('job')}, $database, $node->connstr($database) . " user=$role");
		ok($waits->('relation'), "$name: a call waits for the ledger");
		$owner->query('COMMIT');
		(undef, $err) = $call->ended;
	});
	not_ran(\@lines, "$name: views put in the place of the ledger by dropping the extension");
	like($err, qr/ERROR:  (?!XX)/, "$name: the call ends with an error that is none of ours") or diag($err);
	$_->quit for $owner, $gate;
}

# A schema that is there already is somebody's.
value_as_superuser('CREATE SCHEMA chunked AUTHORIZATION installer', 'squatted');
for my $role ('installer', $super)
{
	my (undef, $err) = as($role, 'CREATE EXTENSION pg_chunked', 'squatted');
	refused('42P06', $err, "a schema that existed before: refused for $role");
}

#
# All that a job can set off: a table of alice's, a view, and types of keys. Each
# piece of code has a tag.
#

my $err;
(undef, $err) = as('alice', <<'SQL');
CREATE TYPE alice.pair AS (a int);
-- Called while an index page is locked, where no error may be caught: it records who it is, and
-- tries nothing unless the test says so.
CREATE FUNCTION alice.compared(tag text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
	CALL alice.who(tag, 'start');
	IF current_setting('alice.leave', true) = tag THEN
		RESET ROLE;
	END IF;
END $$;
CREATE FUNCTION alice.compare(x alice.pair, y alice.pair) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM alice.compared('operator class');
	RETURN pg_catalog.btint4cmp(x.a, y.a);
END $$;
CREATE FUNCTION alice.lt(x alice.pair, y alice.pair) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM alice.compared($$operator$$); RETURN x.a < y.a; END';
CREATE FUNCTION alice.le(x alice.pair, y alice.pair) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM alice.compared($$operator$$); RETURN x.a <= y.a; END';
CREATE FUNCTION alice.eq(x alice.pair, y alice.pair) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM alice.compared($$operator$$); RETURN x.a = y.a; END';
CREATE FUNCTION alice.ge(x alice.pair, y alice.pair) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM alice.compared($$operator$$); RETURN x.a >= y.a; END';
CREATE FUNCTION alice.gt(x alice.pair, y alice.pair) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM alice.compared($$operator$$); RETURN x.a > y.a; END';
CREATE OPERATOR alice.< (LEFTARG = alice.pair, RIGHTARG = alice.pair, FUNCTION = alice.lt, COMMUTATOR = OPERATOR(alice.>));
CREATE OPERATOR alice.<= (LEFTARG = alice.pair, RIGHTARG = alice.pair, FUNCTION = alice.le);
CREATE OPERATOR alice.= (LEFTARG = alice.pair, RIGHTARG = alice.pair, FUNCTION = alice.eq);
CREATE OPERATOR alice.>= (LEFTARG = alice.pair, RIGHTARG = alice.pair, FUNCTION = alice.ge);
CREATE OPERATOR alice.> (LEFTARG = alice.pair, RIGHTARG = alice.pair, FUNCTION = alice.gt, COMMUTATOR = OPERATOR(alice.<));
SQL
unrefused($err, 'alice has a type and operators') or diag($err);
# Only a superuser may create one, and might have done so for her.
value_as_superuser(<<'SQL');
CREATE OPERATOR CLASS alice.pair_ops DEFAULT FOR TYPE alice.pair USING btree AS
	OPERATOR 1 alice.<, OPERATOR 2 alice.<=, OPERATOR 3 alice.=, OPERATOR 4 alice.>=, OPERATOR 5 alice.>,
	FUNCTION 1 alice.compare(alice.pair, alice.pair);
SQL
(undef, $err) = as('alice', <<'SQL');
CREATE DOMAIN alice.checked AS int CHECK (alice.probe('domain'));
CREATE TYPE alice.mood AS ENUM ('glad', 'sad');
-- Compares its bounds whenever it is read.
CREATE TYPE alice.pairs AS RANGE (subtype = alice.pair, subtype_opclass = alice.pair_ops);
CREATE FUNCTION alice.mood_text(alice.mood) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM alice.probe('cast');
	RETURN 'x';
END $$;
CREATE FUNCTION alice.mood_json(alice.mood) RETURNS json IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM alice.probe('cast');
	RETURN '"x"';
END $$;
CREATE CAST (alice.mood AS text) WITH FUNCTION alice.mood_text(alice.mood) AS ASSIGNMENT;
CREATE CAST (alice.mood AS json) WITH FUNCTION alice.mood_json(alice.mood) AS ASSIGNMENT;

CREATE TABLE alice.item (
	id int PRIMARY KEY,
	n int NOT NULL CHECK (alice.touch('check', n) IS NOT NULL),
	plain int DEFAULT alice.touch('default', 1),
	checked alice.checked,
	made int GENERATED ALWAYS AS (alice.touch('generated column', n)) STORED
);
INSERT INTO alice.item (id, n) VALUES (1, 0), (2, 0);
CREATE INDEX ON alice.item (alice.touch('index expression', n));
CREATE INDEX ON alice.item (n) WHERE alice.touch('index predicate', n) IS NOT NULL;
CREATE TABLE alice.ruled (n int);
CREATE TABLE alice.ruled_too (n int);
CREATE RULE rule AS ON INSERT TO alice.ruled DO ALSO INSERT INTO alice.ruled_too VALUES (alice.touch('rule', NEW.n));
ALTER TABLE alice.item ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY policy ON alice.item USING (alice.touch('policy', id) IS NOT NULL) WITH CHECK (alice.touch('policy check', n) IS NOT NULL);
CREATE FUNCTION alice.fired() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM alice.probe(TG_ARGV[0]);
	IF TG_ARGV[0] = 'row trigger' THEN
		INSERT INTO alice.ruled VALUES (1);
		PERFORM alice.defer('statement');
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER before BEFORE UPDATE ON alice.item FOR EACH ROW EXECUTE FUNCTION alice.fired('row trigger');
CREATE TRIGGER after AFTER UPDATE ON alice.item FOR EACH ROW EXECUTE FUNCTION alice.fired('after trigger');
CREATE TRIGGER statement AFTER UPDATE ON alice.item FOR EACH STATEMENT EXECUTE FUNCTION alice.fired('statement trigger');

CREATE TABLE alice.base (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO alice.base VALUES (1), (2);
CREATE VIEW alice.view AS SELECT alice.touch('view', id) AS id, n FROM alice.base;
CREATE TRIGGER instead INSTEAD OF UPDATE ON alice.view FOR EACH ROW EXECUTE FUNCTION alice.fired('instead of trigger');

CREATE TABLE alice.kept (m alice.mood, r alice.pairs, d alice.checked, p alice.pair, n int NOT NULL DEFAULT 0, PRIMARY KEY (m, r, d, p));
INSERT INTO alice.kept VALUES ('glad', alice.pairs(ROW(1), ROW(2)), 1, ROW(1)), ('glad', alice.pairs(ROW(1), ROW(2)), 1, ROW(2)), ('sad', alice.pairs(ROW(1), ROW(2)), 1, ROW(1));

SELECT chunked.create_job('alice.base', 'UPDATE alice.base SET n = n + 1 WHERE {chunk}', name => 'nested');
SQL
unrefused($err, 'alice has code in all places') or diag($err);

my $update_item = q{$$UPDATE alice.item SET n = n + 1, plain = DEFAULT, checked = 1 WHERE {chunk} AND alice.touch('statement', id) IS NOT NULL AND id < 1000000$$};
# The statement implies the filter, and does not call what it calls.
my $conditions = q{filter => $$alice.touch('filter', id) IS NOT NULL AND NOT alice.defer('filter') OR id < 1000000$$,
	throttle => $$alice.probe('throttle') AND alice.defer('throttle')$$};
my $update_view = q{$$UPDATE alice.view SET n = n + 1 WHERE {chunk}$$};
my $update_kept = q{$$UPDATE alice.kept SET n = n + 1 WHERE {chunk} AND m::text = 'x'$$};

# jobs(NAME): three, of alice's; as a list of their names
sub jobs
{
	my ($name) = @_;
	my (undef, $err) = as('alice', <<"SQL");
SELECT chunked.create_job('alice.item', $update_item, name => 'item $name', chunk_size => 1, $conditions);
SELECT chunked.create_job('alice.view', $update_view, name => 'view $name', chunk_size => 1, key => 'id');
SELECT chunked.create_job('alice.kept', $update_kept, name => 'kept $name', chunk_size => 1);
SQL
	unrefused($err, "$name: jobs are created");
	return map { "$_ $name" } qw(item view kept);
}

# all_ran(LINES, SESSION, NAME): all that a run sets off
sub all_ran
{
	my ($lines, $session, $name) = @_;

	ran($lines, $_, $session, $name)
		for 'statement', 'policy', 'policy check', 'check', 'default', 'domain', 'generated column', 'index expression',
		'index predicate', 'row trigger', 'after trigger', 'statement trigger', 'rule', 'filter', 'throttle', 'view',
		'instead of trigger', 'operator class', 'operator', 'cast', 'trigger deferred by statement',
		'second trigger deferred by statement', 'constraint deferred by statement', 'cursor of statement';
	not_deferred($lines, $_, $name) for 'filter', 'throttle';
	my @workers = grep { $_->{tag} eq 'statement' && $_->{try} eq 'start_job' && $_->{state} eq '42501' } @$lines;
	ok(@workers > 0, "$name: statement: start_job is refused");
	return;
}

my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_chunked worker'};

# without_workers: when those that there are have ended
sub without_workers
{
	return comes_about(sub { value_as_superuser($workers) eq '0' });
}

sub done
{
	my ($name) = @_;
	return value_as_superuser("SELECT count(*) FROM chunked.jobs WHERE name LIKE '% $name' AND status = 'done'");
}

# In the foreground, by workers that are waited for, and by those that are not: by
# the owner, by members of his, and by a superuser who has given up being one.
my $become = 'SET SESSION AUTHORIZATION alice';
for (
	[ 'alice in the foreground', 'alice', undef, q{CALL chunked.run_job('%s')}, 'alice' ],
	[ 'alice by workers', 'alice', undef, q{CALL chunked.run_job('%s', workers => 1)}, 'alice' ],
	[ 'alice by start_job', 'alice', undef, q{SELECT chunked.start_job('%s')}, 'alice' ],
	[ 'a member in the foreground', 'bob', 'SET ROLE alice', q{CALL chunked.run_job('%s')}, 'bob' ],
	[ 'a member by workers', 'bob', 'SET ROLE alice', q{CALL chunked.run_job('%s', workers => 1)}, 'alice' ],
	[ 'a member without INHERIT in the foreground', 'carol', 'SET ROLE alice', q{CALL chunked.run_job('%s')}, 'carol' ],
	[ 'a member without INHERIT by start_job', 'carol', 'SET ROLE alice', q{SELECT chunked.start_job('%s')}, 'alice' ],
	[ 'a superuser by SET SESSION AUTHORIZATION and workers', $super, $become, q{CALL chunked.run_job('%s', workers => 1)}, 'alice' ],
	[ 'a superuser by SET SESSION AUTHORIZATION and start_job', $super, $become, q{SELECT chunked.start_job('%s')}, 'alice' ])
{
	my ($name, $role, $set, $call, $session) = @$_;
	my @names = jobs($name);
	my $err;
	my @lines = logged(sub {
		(undef, $err) = as($role, join(";\n", $set // (), map { sprintf $call, $_ } @names));
		without_workers();
	});

	unrefused($err, $name) or diag($err);
	is(done($name), 3, "$name: all are done");
	all_ran(\@lines, $session, $name);
}

# Made and run in one call
{
	my $name = 'run';
	my $err;
	my @lines = logged(sub {
		(undef, $err) = as('alice', <<"SQL");
CALL chunked.run('alice.item', $update_item, name => 'item $name', chunk_size => 1, dry_run => true, $conditions);
CALL chunked.run('alice.item', $update_item, name => 'item $name', chunk_size => 1, $conditions);
CALL chunked.run('alice.view', $update_view, name => 'view $name', chunk_size => 1, key => 'id');
CALL chunked.run('alice.kept', $update_kept, name => 'kept $name', chunk_size => 1);
SQL
	});
	unrefused($err, $name);
	all_ran(\@lines, 'alice', $name);
}

# Comparing functions that try to leave
for my $tag ('operator', 'operator class')
{
	my (undef, $err) = as('alice', "SET alice.leave = '$tag'; CALL chunked.run('alice.kept', $update_kept)");
	refused('42501', $err, "run: $tag: RESET ROLE is refused");
}

# Chunks claimed by workers outside, given back and divided
for ([ 'alice claims', 'alice', undef, 'alice' ], [ 'a member claims', 'bob', 'SET ROLE alice', 'bob' ])
{
	my ($name, $role, $set, $session) = @$_;
	my $err;
	my @lines = logged(sub {
		(undef, $err) = as($role, join ";\n", $set // (),
			"SELECT chunked.create_job('alice.item', name => 'item $name', max_attempts => 1, $conditions)",
			"SELECT chunked.create_job('alice.view', name => 'view $name', max_attempts => 1, key => 'id')",
			"SELECT chunked.create_job('alice.kept', name => 'kept $name', max_attempts => 1)",
			map { ("SELECT chunked.fail_chunk('$_ $name', number, fence) FROM chunked.claim_chunk('$_ $name')",
				"SELECT chunked.complete_chunk('$_ $name', number, fence) FROM chunked.claim_chunk('$_ $name')") } qw(item view kept));
	});
	unrefused($err, $name) or diag($err);
	is(value_as_superuser("SELECT count(*) FROM chunked.job_chunks WHERE job LIKE '% $name' AND state = 'done'"), 3, "$name: chunks are done");
	ran(\@lines, $_, $session, $name) for qw(filter throttle policy view operator), 'operator class';
	not_deferred(\@lines, $_, $name) for 'filter', 'throttle';
}

#
# Those who do not run it
#

for (
	[ 'a superuser', $super, '', '42501', 1 ],
	[ 'a superuser by SET ROLE', $super, 'SET ROLE alice;', '42501', 1 ],
	[ 'a superuser by SET SESSION AUTHORIZATION', $super, "$become;", '42501', 0 ],
	[ 'a member', 'bob', '', '42501', 1 ],
	[ 'a member without INHERIT', 'carol', '', '42501', 1 ],
	[ 'another', 'mallory', '', '42704', 1 ])
{
	my ($name, $role, $set, $state, $by_workers) = @$_;
	jobs($name);
	as('alice', "SELECT chunked.create_job('alice.item', name => 'claims $name', $conditions)");
	my $fence = (as('alice', "SELECT number || ', ' || fence FROM chunked.claim_chunk('claims $name')"))[0];
	my @calls = ("CALL chunked.run_job('item $name')", "SELECT chunked.claim_chunk('claims $name')", "SELECT chunked.fail_chunk('claims $name', $fence)");
	push @calls, "CALL chunked.run_job('item $name', workers => 1)", "SELECT chunked.start_job('item $name')"
		if $by_workers;

	my @lines = logged(sub {
		for my $call (@calls)
		{
			my (undef, $err) = as($role, "$set $call");
			refused($state, $err, "$name: $call");
		}
		without_workers();
	});
	not_ran(\@lines, $name);
	is(done($name), 0, "$name: nothing is done");

	# What a superuser may do with another's job calls none of its code.
	next if $role ne $super || $set ne '';
	@lines = logged(sub {
		my (undef, $err) = as($role, join ";\n", map { sprintf $_, "item $name" } q{SELECT chunked.pause_job('%s')},
			q{SELECT chunked.resume_job('%s')}, q{SELECT chunked.alter_job('%s', chunk_size => 7)}, q{SELECT chunked.retry_failed('%s')},
			q{SELECT * FROM chunked.jobs WHERE name = '%s'}, q{SELECT * FROM chunked.job_chunks WHERE job = '%s'},
			q{SELECT * FROM chunked.progress WHERE job = '%s'}, q{SELECT chunked.cancel_job('%s')}, q{SELECT chunked.drop_job('%s')});
		unrefused($err, "$name: may pause, alter, look at, cancel and drop it") or diag($err);
	});
	not_ran(\@lines, "$name: steering it");
}

# run() makes the job as the role, ahead of running it: its filter is asked for that.
for ([ 'SET ROLE alice;', 0 ], [ 'SET ROLE alice;', 1 ], [ "$become;", 0 ])
{
	my ($set, $count) = @$_;
	my $name = "a superuser: $set run with $count workers";
	my @lines = logged(sub {
		(undef, $err) = as($super, "$set CALL chunked.run('alice.item', $update_item, workers => $count, $conditions)");
		without_workers();
	});
	refused('42501', $err, $name);
	not_ran(\@lines, $name, $_) for 'row trigger', 'trigger deferred by statement', 'second trigger deferred by statement',
		'cursor of statement', 'trigger deferred by throttle', 'trigger deferred by filter';
}

# A role that may not log on
{
	my (undef, $err) = as('bob', <<'SQL');
SET ROLE team;
CREATE TABLE team.item (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO team.item VALUES (1), (2);
SELECT chunked.create_job('team.item', $$UPDATE team.item SET n = n + 1 WHERE {chunk} AND team.probe('team') AND NOT team.defer('team')$$, name => 'team ' || g) FROM generate_series(1, 3) g;
SELECT chunked.create_job('team.item', 'UPDATE team.item SET n = n + 1 WHERE {chunk}', name => 'nested');
SQL
	unrefused($err, 'a role without LOGIN') or diag($err);
	my @lines = logged(sub { (undef, $err) = as('bob', q{SET ROLE team; CALL chunked.run_job('team 1')}) });
	unrefused($err, 'a role without LOGIN in the foreground') or diag($err);
	ran(\@lines, $_, 'bob', 'a role without LOGIN in the foreground')
		for 'team', 'trigger deferred by team', 'second trigger deferred by team', 'cursor of team';
	for my $sql (q{CALL chunked.run_job('team 2', workers => 1)}, q{SELECT chunked.start_job('team 3')})
	{
		@lines = logged(sub { (undef, $err) = as('bob', "SET ROLE team; $sql"); without_workers(); });
		if ($major >= 17)
		{
			unrefused($err, "a role without LOGIN: $sql") or diag($err);
			ran(\@lines, $_, 'team', "a role without LOGIN: $sql")
				for 'team', 'trigger deferred by team', 'second trigger deferred by team', 'cursor of team';
		}
		else
		{
			refused('42501|55000', $err, "a role without LOGIN: $sql");
			like($err, qr/HINT:  .*foreground|HINT:  .*in this session/, 'with a hint to do without workers');
			not_ran(\@lines, "a role without LOGIN: $sql");
		}
	}
}

#
# Code that the server runs by itself in a session of a superuser's, as its owner:
# it may start nothing, since it would go on outside of what the server allows it.
#

value_as_superuser(<<'SQL');
CREATE TABLE public.parent (id int PRIMARY KEY);
INSERT INTO public.parent VALUES (1);
GRANT SELECT, REFERENCES ON public.parent TO alice;
SQL
(undef, $err) = as('alice', <<'SQL');
CREATE TABLE alice.bait (tag text);
INSERT INTO alice.bait VALUES ('');
-- Its index expressions and triggers call alice.lure(), which does nothing while there is no tag.
CREATE FUNCTION alice.tempt() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
	tag text := b.tag FROM alice.bait b;
	attempt text;
BEGIN
	IF tag <> '' THEN
		PERFORM alice.probe(tag);
		FOREACH attempt IN ARRAY ARRAY['SELECT chunked.start_job(%L)', 'CALL chunked.run_job(%L, workers => 1)', 'CALL chunked.run_job(%L)',
			'SELECT state, reason FROM chunked.claim_chunk(%L)']
		LOOP
			BEGIN
				EXECUTE format(attempt, CASE WHEN attempt ~ 'claim' THEN 'claims ' ELSE 'lure ' END || tag);
				RAISE LOG 'REFUSED role=alice tag="%" try="%" state=00000', tag, substring(attempt FROM 'chunked.(\w+)');
			EXCEPTION WHEN OTHERS THEN
				RAISE LOG 'REFUSED role=alice tag="%" try="%" state=%', tag, substring(attempt FROM 'chunked.(\w+)'), SQLSTATE;
			END;
		END LOOP;
	END IF;
END $$;
CREATE FUNCTION alice.lure(value int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM alice.tempt(); RETURN value; END';
CREATE FUNCTION alice.lure() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM alice.tempt(); RETURN OLD; END';
CREATE TABLE alice.lured (n int) WITH (autovacuum_enabled = false);
INSERT INTO alice.lured VALUES (1);
CREATE INDEX lured_index ON alice.lured (alice.lure(n));
CREATE TABLE alice.vacuumed (n int) WITH (autovacuum_analyze_threshold = 0, autovacuum_analyze_scale_factor = 0);
INSERT INTO alice.vacuumed VALUES (1);
CREATE INDEX ON alice.vacuumed (alice.lure(n));
CREATE MATERIALIZED VIEW alice.material AS SELECT alice.lure(id) FROM alice.base;
CREATE TABLE alice.child (id int PRIMARY KEY REFERENCES public.parent ON DELETE CASCADE);
INSERT INTO alice.child VALUES (1);
CREATE TRIGGER lure BEFORE DELETE ON alice.child FOR EACH ROW EXECUTE FUNCTION alice.lure();
CREATE FUNCTION alice.definer() RETURNS void SECURITY DEFINER LANGUAGE plpgsql AS 'BEGIN PERFORM alice.tempt(); END';
SQL
unrefused($err, 'alice lays lures') or diag($err);

# lured(NAME, CODE): it has alice.lure() called in a session that may do more than she
sub lured
{
	my ($name, $code) = @_;

	as('alice', <<"SQL");
SELECT chunked.create_job('alice.base', \$\$UPDATE alice.base SET n = n + 1 WHERE {chunk} AND NOT alice.defer('$name, by its job')\$\$, name => 'lure $name');
SELECT chunked.create_job('alice.base', name => 'claims $name', throttle => \$\$alice.probe('$name, by its throttle')\$\$);
UPDATE alice.bait SET tag = '$name';
SQL
	my @lines = logged(sub { $code->(); without_workers(); });
	value_as_superuser(q{UPDATE alice.bait SET tag = ''});
	ran(\@lines, $name, undef, 'lured');
	for my $try (qw(start_job run_job claim_chunk))
	{
		my @states = map { $_->{state} } grep { $_->{tag} eq $name && $_->{try} eq $try } @lines;
		# A procedure that cannot commit is refused for that, too.
		my @other = grep { $_ !~ ($try eq 'run_job' ? qr/^(?:42501|25001|2D000)$/ : qr/^42501$/) } @states;

		ok(@states && !@other, "lured: $name: $try is refused") or diag("@other");
	}
	my @work = grep { $_->{tag} =~ /\Q$name\E, by/ && defined $_->{current} } @lines;
	is(join('', map { "$_->{text}\n" } @work), '', "lured: $name: none of the job's code runs");
	return;
}

for my $sql ('ANALYZE alice.lured', 'VACUUM ANALYZE alice.lured', 'VACUUM FULL alice.lured', 'CLUSTER alice.lured USING lured_index',
	'REINDEX TABLE alice.lured', 'REINDEX INDEX CONCURRENTLY alice.lured_index', 'CREATE INDEX ON alice.lured (alice.lure(n))',
	'CREATE INDEX CONCURRENTLY ON alice.lured (alice.lure(n))', 'REFRESH MATERIALIZED VIEW alice.material',
	'DELETE FROM public.parent', 'SELECT alice.definer()')
{
	lured($sql, sub { my (undef, $err) = as($super, $sql); unrefused($err, $sql) or diag($err); });
}
as('alice', 'INSERT INTO alice.vacuumed VALUES (2)');
lured('autovacuum', sub {
	my $offset = -s $node->logfile;
	value_as_superuser('ALTER SYSTEM SET autovacuum = on');
	value_as_superuser('SELECT pg_reload_conf()');
	ok(comes_about(sub { slurp_file($node->logfile, $offset) =~ /tag="autovacuum" try="claim_chunk"/ }), 'autovacuum comes by');
	value_as_superuser('ALTER SYSTEM SET autovacuum = off');
	value_as_superuser('SELECT pg_reload_conf()');
});

#
# SECURITY DEFINER functions of alice's, called by herself, by others and by a superuser
#

value_as_superuser(<<'SQL');
SET ROLE alice;
CREATE FUNCTION alice.start(name text) RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT chunked.start_job($1)';
CREATE FUNCTION alice.claim(name text, OUT number bigint, OUT fence bigint, OUT state text, OUT reason text) SECURITY DEFINER LANGUAGE sql
	AS 'SELECT number, fence, state, reason FROM chunked.claim_chunk($1)';
CREATE FUNCTION alice.fail(name text, number bigint, fence bigint) RETURNS void SECURITY DEFINER LANGUAGE sql AS 'SELECT chunked.fail_chunk($1, $2, $3)';
CREATE PROCEDURE alice.run(name text, workers int) SECURITY DEFINER LANGUAGE plpgsql AS 'BEGIN CALL chunked.run_job(name, workers); END';
SQL
for my $role ('alice', 'bob', 'mallory', $super)
{
	my $name = "$role in a SECURITY DEFINER function";
	my $err;
	jobs($name);
	as('alice', "SELECT chunked.create_job('alice.item', name => 'claims $name', max_attempts => 1, $conditions)");
	my @lines = logged(sub {
		(undef, $err) = as($role, "SELECT alice.start('item $name')");
		refused('42501', $err, "$name: start_job");
		for my $count (0, 1)
		{
			(undef, $err) = as($role, "CALL alice.run('item $name', $count)");
			refused('42501|25001|2D000', $err, "$name: run_job with $count workers");
		}
		without_workers();
	});
	not_ran(\@lines, $name);

	@lines = logged(sub {
		(undef, $err) = as($role, "SELECT alice.fail('claims $name', number, fence) FROM alice.claim('claims $name')");
	});
	if ($role eq $super)
	{
		refused('42501', $err, "$name: claim_chunk");
		not_ran(\@lines, $name);
	}
	else
	{
		unrefused($err, "$name: claim_chunk") or diag($err);
		ran(\@lines, $_, $role, "$name: claim_chunk") for qw(filter throttle policy);
		not_deferred(\@lines, $_, $name) for 'filter', 'throttle';
	}
}

#
# Names that others have planted ahead of the server's own: in a schema that comes
# first in a superuser's search_path, and among temporary objects.
#

my $planted = '';
for my $pair (map { my $type = $_; map { [ $_, $type ] } qw(= <> < <= > >=) } qw(int4 int8 text bool oid jsonb float8 timestamptz interval regclass regrole))
{
	my ($operator, $type) = @$pair;
	my $function = '"' . "planted $operator" . '"';
	$planted .= <<"SQL";
CREATE FUNCTION public.$function(pg_catalog.$type, pg_catalog.$type) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS \$\$BEGIN RETURN mallory.probe('planted $operator $type'); END\$\$;
CREATE OPERATOR public.$operator (LEFTARG = pg_catalog.$type, RIGHTARG = pg_catalog.$type, FUNCTION = public.$function);
SQL
}
for my $pair (map { my $type = $_; map { [ $_, $type ] } qw(+ - * /) } qw(int4 int8 float8))
{
	my ($operator, $type) = @$pair;
	my $function = '"' . "planted $operator" . '"';
	$planted .= <<"SQL";
CREATE FUNCTION public.$function(pg_catalog.$type, pg_catalog.$type) RETURNS pg_catalog.$type IMMUTABLE LANGUAGE plpgsql AS \$\$BEGIN PERFORM mallory.probe('planted $operator $type'); RETURN 1; END\$\$;
CREATE OPERATOR public.$operator (LEFTARG = pg_catalog.$type, RIGHTARG = pg_catalog.$type, FUNCTION = public.$function);
SQL
}
for ([ 'clock_timestamp()', 'timestamptz' ], [ 'now()', 'timestamptz' ], [ 'to_jsonb(anyelement)', 'jsonb' ],
	[ 'lower(text)', 'text' ], [ 'quote_ident(text)', 'text' ], [ 'quote_literal(text)', 'text' ], [ 'round(numeric)', 'numeric' ],
	[ 'round(numeric, int4)', 'numeric' ], [ 'floor(float8)', 'float8' ], [ 'repeat(text, int4)', 'text' ],
	[ 'pg_has_role(oid, text)', 'bool' ], [ 'human_time(float8)', 'text' ], [ 'human_number(float8)', 'text' ],
	[ 'current_database()', 'name' ], [ 'row_number()', 'int8' ], [ 'count()', 'int8' ])
{
	my ($signature, $type) = @$_;
	$planted .= "CREATE FUNCTION public.$signature RETURNS $type IMMUTABLE LANGUAGE plpgsql AS \$\$BEGIN PERFORM mallory.probe('planted $signature'); RETURN NULL; END\$\$;\n";
}
$planted .= <<'SQL';
CREATE FUNCTION public.add(state int8, value anyelement) RETURNS int8 LANGUAGE plpgsql AS $$BEGIN PERFORM mallory.probe('planted aggregate'); RETURN 1; END$$;
CREATE AGGREGATE public.count(anyelement) (SFUNC = public.add, STYPE = int8);
CREATE AGGREGATE public.max(anyelement) (SFUNC = public.add, STYPE = int8);
CREATE AGGREGATE public.min(anyelement) (SFUNC = public.add, STYPE = int8);
CREATE DOMAIN public.int8 AS pg_catalog.int8 CHECK (mallory.probe('planted type'));
CREATE DOMAIN public.text AS pg_catalog.text CHECK (mallory.probe('planted type'));
CREATE DOMAIN public.jsonb AS pg_catalog.jsonb CHECK (mallory.probe('planted type'));
CREATE VIEW public.ledger_jobs AS SELECT * FROM chunked.ledger_jobs WHERE mallory.probe('planted view');
CREATE VIEW public.ledger_chunks AS SELECT * FROM chunked.ledger_chunks WHERE mallory.probe('planted view');
CREATE VIEW public.ledger_carving AS SELECT * FROM chunked.ledger_carving WHERE mallory.probe('planted view');
CREATE VIEW public.pg_class AS SELECT * FROM pg_catalog.pg_class WHERE mallory.probe('planted view');
CREATE VIEW public.pg_locks AS SELECT * FROM pg_catalog.pg_locks WHERE mallory.probe('planted view');
SQL

# All of the interface, with nothing in it that the caller would have to qualify.
my $everything = <<'SQL';
SELECT FROM chunked.page(NULL::@SCHEMA.many, 2, after => '{"id": 1}');
SELECT FROM chunked.page(NULL::@SCHEMA.many, 2, before => '{"id": 3}');
SELECT FROM chunked.chunks('@SCHEMA.many', 2);
SELECT FROM chunked.chunks('@SCHEMA.many', 2, filter => 'true');
SELECT FROM chunked.chunks('@SCHEMA.many', 2, exact => false);
SELECT FROM chunked.next_chunk('@SCHEMA.many', 2);
SELECT FROM chunked.split('@SCHEMA.many', 2);
SELECT FROM chunked.bounds('@SCHEMA.many');
SELECT FROM chunked.paginator('@SCHEMA.many', 2, filter => 'true');
SELECT FROM chunked.paginate(NULL::@SCHEMA.many, 2, 2);
SELECT chunked.create_job('@SCHEMA.many', 'UPDATE @SCHEMA.many SET n = 1 WHERE {chunk}', name => '@NAME', chunk_size => 1, filter => 'true', throttle => 'false', target_time => '1 s');
SELECT chunked.alter_job('@NAME', chunk_size => 2, pause => '0', throttle => '');
SELECT chunked.pause_job('@NAME');
SELECT chunked.resume_job('@NAME');
CALL chunked.run_job('@NAME');
SELECT chunked.retry_failed('@NAME');
SELECT chunked.create_job('@SCHEMA.many', 'UPDATE @SCHEMA.many SET n = 1 WHERE {chunk}', name => '@NAME by workers', chunk_size => 1);
CALL chunked.run_job('@NAME by workers', workers => 1);
SELECT chunked.create_job('@SCHEMA.many', name => '@NAME claims', max_attempts => 1);
SELECT chunked.fail_chunk('@NAME claims', number, fence) FROM chunked.claim_chunk('@NAME claims');
SELECT chunked.renew_chunk('@NAME claims', number, fence), chunked.complete_chunk('@NAME claims', number, fence, 1) FROM chunked.claim_chunk('@NAME claims');
TABLE chunked.jobs;
TABLE chunked.job_chunks;
TABLE chunked.progress;
SELECT chunked.cancel_job('@NAME');
SELECT chunked.drop_job('@NAME');
SQL

# everything(SCHEMA, NAME)
sub everything
{
	my ($schema, $name) = @_;
	my $sql = $everything;

	$sql =~ s/\@SCHEMA/$schema/g;
	$sql =~ s/\@NAME/$name/g;
	return $sql;
}

{
	my $err;
	value_as_superuser(<<"SQL");
GRANT CREATE ON SCHEMA public TO mallory;
CREATE SCHEMA own;
CREATE TABLE own.many (id int PRIMARY KEY, n int);
INSERT INTO own.many SELECT generate_series(1, 6);
SQL
	as('alice', 'CREATE TABLE alice.many (id int PRIMARY KEY, n int); INSERT INTO alice.many SELECT generate_series(1, 6)');
	(undef, $err) = as('mallory', $planted);
	unrefused($err, 'planted: functions, operators, types and views in public') or diag($err);
	my @lines = logged(sub { (undef, $err) = as('mallory', 'SET search_path = public, pg_catalog; SELECT 1 < 2, now()'); });
	for my $tag ('planted < int4', 'planted now()')
	{
		ok((grep { $_->{tag} eq $tag && $_->{role} eq 'mallory' } @lines) > 0, "planted: $tag: would run");
	}
	for my $path ('public, pg_catalog', 'public, pg_temp, pg_catalog')
	{
		for my $role ($super, 'alice')
		{
			my $schema = $role eq 'alice' ? 'alice' : 'own';

			@lines = logged(sub { (undef, $err) = as($role, "SET search_path = $path;\n" . everything($schema, "$role: $path")) });
			unrefused($err, "planted: $role has search_path = $path") or diag($err);
			not_ran(\@lines, "planted: $role has search_path = $path");
		}
	}
	my @temporary = grep { /^CREATE (?:VIEW|DOMAIN|FUNCTION) / } split /^(?=CREATE )/m, $planted =~ s/\bpublic\./pg_temp./gr =~ s/mallory\./alice./gr;
	@lines = logged(sub {
		(undef, $err) = as('alice', join('', @temporary) . "SET search_path = pg_temp, public, pg_catalog;\n" . everything('alice', 'temporary'));
	});
	unrefused($err, 'planted: temporary objects') or diag($err);
	not_ran(\@lines, 'planted: temporary objects');
}

#
# Whose a job is, and who hears of it
#

{
	my (undef, $err) = as('mallory', <<'SQL');
CREATE TABLE mallory.item (id int PRIMARY KEY);
INSERT INTO mallory.item VALUES (1);
SELECT chunked.create_job('mallory.item', $$SELECT mallory.probe('of mallory') FROM mallory.item WHERE {chunk}$$, name => 'nested');
SQL
	unrefused($err, "names: one may have the name of another's job") or diag($err);
	my @lines = logged(sub { (undef, $err) = as('alice', q{CALL chunked.run_job('nested')}); });
	unrefused($err, 'names: the job is found among the own ones first');
	not_ran(\@lines, "names: of alice's two", 'of mallory');
	@lines = logged(sub { (undef, $err) = as('mallory', q{CALL chunked.run_job('nested')}); });
	ran(\@lines, 'of mallory', 'mallory', 'names');

	as('alice', q{SELECT chunked.create_job('alice.base', 'UPDATE alice.base SET n = n + 1 WHERE {chunk}', name => 'secret')});
	for my $call (q{SELECT chunked.pause_job('%s')}, q{SELECT chunked.resume_job('%s')}, q{SELECT chunked.cancel_job('%s')}, q{SELECT chunked.drop_job('%s')},
		q{SELECT chunked.retry_failed('%s')}, q{SELECT chunked.alter_job('%s', chunk_size => 1)}, q{SELECT chunked.start_job('%s')},
		q{CALL chunked.run_job('%s')}, q{CALL chunked.run_job('%s', workers => 1)}, q{SELECT chunked.claim_chunk('%s')},
		q{SELECT chunked.renew_chunk('%s', 1, 1)}, q{SELECT chunked.complete_chunk('%s', 1, 1)}, q{SELECT chunked.fail_chunk('%s', 1, 1)},
		q{SELECT chunked.alter_job('%s', owner => 'mallory'::regrole)})
	{
		my @messages = map { my $name = $_; my (undef, $e) = as('mallory', sprintf $call, $name); $e =~ s/\Q$name\E/NAME/gr } 'secret', 'nowhere';

		refused('42704', $messages[0], "names: another's job: $call");
		# except the place in the script and the function of ours
		s/^psql:[^ ]* //mg, s/^LOCATION:.*\n?//mg for @messages;
		is($messages[0], $messages[1], 'and as if there were none');
	}
	my ($out) = as('mallory', q{SELECT count(*) FROM chunked.jobs WHERE name = 'secret'; SELECT count(*) FROM chunked.job_chunks WHERE job = 'secret'; SELECT count(*) FROM chunked.progress WHERE job = 'secret'});
	is($out, "0\n0\n0", 'names: nor do the views show it');

	# Nor does EXPLAIN show that an index was looked up and a row hidden: comparisons of text are leakproof.
	for my $condition (q{name = 'secret'}, q{name = 'nowhere'}, q{name > 's' AND name < 't'}, q{statement = 'x'})
	{
		my ($plan) = as('mallory', "SET enable_seqscan = off; SET enable_bitmapscan = off; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT FROM chunked.ledger_jobs WHERE $condition");
		unlike($plan, qr/Index Cond/, "names: not by an index: $condition");
	}
	is(value_as_superuser(q{SELECT count(*) FROM pg_stats WHERE schemaname = 'chunked' AND tablename = 'ledger_jobs' AND attname IN ('name', 'owner', 'statement', 'filter', 'throttle')}), 0, 'names: no statistics of them');

	# Texts that a job runs are its owner's alone to write, and an owner is not given a job against his will.
	for ([ 'a superuser', $super ], [ 'a member', 'bob' ], [ 'a member without INHERIT', 'carol' ])
	{
		my ($name, $role) = @$_;
		@lines = logged(sub { (undef, $err) = as($role, q{SELECT chunked.alter_job('secret', throttle => $$SELECT alice.probe('throttle of another')$$)}); });
		refused('42501', $err, "$name: cannot alter another's throttle");
		not_ran(\@lines, "$name: cannot alter another's throttle");
	}
	(undef, $err) = as('alice', q{SELECT chunked.alter_job('secret', throttle => 'false')});
	unrefused($err, 'the owner can');
	for ([ 'alice', $super ], [ 'alice', 'bob' ], [ 'carol', 'carol' ])
	{
		my ($role, $to) = @$_;
		(undef, $err) = as($role, "SELECT chunked.alter_job('secret', owner => '$to'::regrole)");
		refused('42501', $err, "$role: cannot give alice's job to $to");
	}
	(undef, $err) = as('bob', q{SELECT chunked.alter_job('secret', owner => 'bob'::regrole)});
	unrefused($err, 'who has the rights of both can') or diag($err);
	is(value_as_superuser(q{SELECT owner FROM chunked.jobs WHERE name = 'secret'}), 'bob', 'and then it is the other one\'s');
	(undef, $err) = as('alice', q{CALL chunked.run_job('secret')});
	refused('42704', $err, 'and the former owner does not see it');
}

#
# What a session is left with
#

# What alice's policy sets while her table is walked for a job is as before when the call is over,
# or a superuser who was her for that call would find her operators in his search_path.
as('alice', <<'SQL');
CREATE FUNCTION alice.sets() RETURNS boolean LANGUAGE sql AS $$SELECT set_config('search_path', 'alice, pg_catalog', false) IS NOT NULL$$;
CREATE TABLE alice.setting (id int PRIMARY KEY);
INSERT INTO alice.setting SELECT generate_series(1, 10);
ALTER TABLE alice.setting ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY sets ON alice.setting USING (alice.sets());
SQL
for my $call (q{SELECT chunked.create_job('alice.setting', name => 'setting')},
	q{CALL chunked.run('alice.setting', 'SELECT FROM alice.setting WHERE {chunk}', dry_run => true)})
{
	my ($out, $err) = as($super, "SET client_min_messages = error; SET ROLE alice; SET search_path = public; $call; RESET ROLE; SELECT 'path ' || current_setting('search_path')");
	like($out, qr/^path public$/m, "settings are as before: $call") or diag($err);
}
for my $call (q{SELECT chunked.claim_chunk('setting')}, q{CALL chunked.run('alice.setting', 'SELECT alice.sets() FROM alice.setting WHERE {chunk}')})
{
	my ($out, $err) = as('alice', "SET client_min_messages = error; SET search_path = public; $call; SELECT 'path ' || current_setting('search_path')");
	like($out, qr/^path public$/m, "settings are as before: $call") or diag($err);
}

# A role that sets another one whenever it logs on: its workers are the owner all the same.
value_as_superuser('CREATE ROLE team; GRANT team TO alice; ALTER ROLE alice SET role = team');
as('alice', q{SET ROLE alice; SELECT chunked.create_job('alice.setting', 'SELECT alice.probe(''worker of a role that sets a role'') FROM alice.setting WHERE {chunk}', name => 'teamed')});
as('alice', q{SET ROLE alice; SELECT chunked.start_job('teamed')});
ok(comes_about(sub { value_as_superuser(q{SELECT status FROM chunked.jobs WHERE name = 'teamed'}) eq 'done' }), 'a role that sets a role: its workers run')
  or diag(value_as_superuser(q{SELECT status, error FROM chunked.jobs WHERE name = 'teamed'}));
value_as_superuser('ALTER ROLE alice RESET role');

#
# All in all
#

$node->stop;
my %seen;

# told(LINES): each once
sub told
{
	return join '', map { "$_->{text}\n" } grep { !$seen{ $_->{text} }++ } @_;
}

# In their own sessions, outside of any job, roles may be whom they like: there alice fills
# her tables and mallory tries out what she has planted.
my @who = grep { defined $_->{current} } probes(slurp_file($node->logfile));
my @changed = grep { defined $_->{current} && $_->{try} ne 'start' && $_->{session} ne 'mallory' } @attacks;
cmp_ok(scalar(grep { defined $_->{current} } @attacks), '>', 1000, 'attempts were made');
is(told(grep { $_->{current} ne $_->{role} || $_->{super} ne 'f' } @who), '', 'no code ran as another than its owner');
is(told(@changed), '', 'and none in a job could set its role or session authorization');

done_testing();
