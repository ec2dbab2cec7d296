# Partitions that are attached, detached, dropped, emptied and made anew at random
# while several sessions walk the table and jobs run over it: every row that is there
# throughout is visited once, and nothing fails that would not fail in a SELECT, but a
# page whose snapshot's rows are gone (40001), which is executed again.
#
# STRESS_SECONDS (10) is how long it goes on.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use Test::More;
use Time::HiRes qw(time);

my $SECONDS = $ENV{STRESS_SECONDS} || 10;
my $PARTS = 12;					# the odd ones come and go
my $SIZE = 40;					# rows of each

my $node = start_node('partition_changes', 'deadlock_timeout = 50ms', 'max_worker_processes = 20', 'max_connections = 30');
my $seed = $ENV{SEED} || int(rand(1_000_000));
srand($seed);
note "SEED=$seed";

$node->safe_psql('postgres', <<SQL);
CREATE TABLE ev (at int, id int, kind text DEFAULT 'x', PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
SELECT format('CREATE TABLE ev_%s PARTITION OF ev FOR VALUES FROM (%s) TO (%s)', i, i * 1000, i * 1000 + 1000) || CASE i WHEN 4 THEN ' PARTITION BY HASH (id)' WHEN 6 THEN ' PARTITION BY RANGE (at)' ELSE '' END
FROM generate_series(0, $PARTS - 1) i \\gexec
CREATE TABLE ev_4_0 PARTITION OF ev_4 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE ev_4_1 PARTITION OF ev_4 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE ev_6_0 PARTITION OF ev_6 FOR VALUES FROM (6000) TO (6500);
CREATE TABLE ev_6_1 PARTITION OF ev_6 FOR VALUES FROM (6500) TO (7000);
CREATE TABLE ev_rest PARTITION OF ev DEFAULT;
INSERT INTO ev SELECT p * 1000 + i * 25, i FROM generate_series(0, $PARTS - 1) p, generate_series(0, $SIZE - 1) i;
INSERT INTO ev SELECT at, 0 FROM unnest('{-5,-4,20000,20001}'::int[]) at;
ANALYZE ev;
CREATE TABLE stays AS SELECT at, id FROM ev WHERE at < 0 OR at >= $PARTS * 1000 OR at / 1000 % 2 = 0;
CREATE TABLE trouble (what text, again int);

-- One walk, a transaction a page; what is wrong goes into "trouble".
CREATE PROCEDURE walk(page_size int, backward bool, key text) LANGUAGE plpgsql AS \$\$
DECLARE
	place jsonb := CASE WHEN backward THEN '{}' END;
	seen jsonb[] := '{}';
	found jsonb[];
	again int := 0;
	wrong text;
BEGIN
	LOOP
		BEGIN
			IF backward THEN
				SELECT array_agg(chunked.position_of(e, key)) INTO found FROM chunked.page(NULL::ev, page_size, before => place, key => key) e;
			ELSE
				SELECT array_agg(chunked.position_of(e, key)) INTO found FROM chunked.page(NULL::ev, page_size, after => place, key => key) e;
			END IF;
		EXCEPTION WHEN serialization_failure THEN
			again := again + 1;
			CONTINUE;
		END;
		EXIT WHEN found IS NULL;
		seen := CASE WHEN backward THEN found || seen ELSE seen || found END;
		place := CASE WHEN backward THEN found[1] ELSE found[cardinality(found)] END;
		COMMIT;
	END LOOP;
	SELECT string_agg(format('%s seen %s times', position, n), ', ') INTO wrong FROM (
		SELECT to_jsonb(s) - 'kind' AS position, (SELECT count(*) FROM unnest(seen) x WHERE (x->>'at')::int = s.at AND (x->>'id')::int = s.id) AS n FROM stays s) c
	WHERE n <> 1;
	IF wrong IS NULL AND EXISTS (SELECT FROM unnest(seen) WITH ORDINALITY a (x, n) JOIN unnest(seen) WITH ORDINALITY b (x, n) ON b.n = a.n + 1
		WHERE CASE WHEN key LIKE 'at DESC%' THEN (a.x->>'at')::int < (b.x->>'at')::int ELSE (a.x->>'at')::int > (b.x->>'at')::int END) THEN
		wrong := 'out of order';
	END IF;
	IF wrong IS NOT NULL OR again > 0 THEN
		INSERT INTO trouble VALUES (wrong, again);
	END IF;
	COMMIT;
END \$\$;
SQL

# What happens to a partition, by the number of it; some of it waits for others, and gives up
sub change
{
	my $p = 1 + 2 * int(rand($PARTS / 2));
	my ($from, $to) = ($p * 1000, $p * 1000 + 1000);
	my $fill = "INSERT INTO ev SELECT $from + i * 25, i FROM generate_series(0, $SIZE - 1) i ON CONFLICT DO NOTHING;";

	return (
		"ALTER TABLE ev DETACH PARTITION ev_$p; ALTER TABLE ev ATTACH PARTITION ev_$p FOR VALUES FROM ($from) TO ($to);",
		"ALTER TABLE ev DETACH PARTITION ev_$p; INSERT INTO ev_$p (at, id) VALUES ($from + 1, 1) ON CONFLICT DO NOTHING; ALTER TABLE ev ATTACH PARTITION ev_$p FOR VALUES FROM ($from) TO ($to);",
		"DROP TABLE ev_$p; CREATE TABLE ev_$p PARTITION OF ev FOR VALUES FROM ($from) TO ($to); $fill",
		"BEGIN; DROP TABLE ev_$p; CREATE TABLE ev_$p (kind text, old int, id int NOT NULL, at int NOT NULL); ALTER TABLE ev_$p DROP old;"
		  . " ALTER TABLE ev ATTACH PARTITION ev_$p FOR VALUES FROM ($from) TO ($to); $fill COMMIT;",
		"TRUNCATE ev_$p; $fill",
		"BEGIN; TRUNCATE ev_$p; $fill COMMIT;",
		"VACUUM FULL ev_$p;",
		"DELETE FROM ev WHERE at >= $from AND at < $to; $fill VACUUM ev_$p;",
		"CREATE INDEX ev_extra ON ev (kind); DROP INDEX ev_extra;",
		"CREATE INDEX ON ev_$p (id, at); ANALYZE ev_$p;",
		"REINDEX TABLE ev_$p;",
	)[ int(rand(11)) ];
}

# A default partition cannot be there for this one.
sub change_concurrently
{
	my $p = 1 + 2 * int(rand($PARTS / 2));
	return ("ALTER TABLE ev DETACH PARTITION ev_$p CONCURRENTLY", "ALTER TABLE ev DETACH PARTITION ev_$p FINALIZE",
		"ALTER TABLE ev ATTACH PARTITION ev_$p FOR VALUES FROM (" . $p * 1000 . ") TO (" . ($p * 1000 + 1000) . ")");
}

sub go_on
{
	my ($what, $changes) = @_;
	my $end = time() + $SECONDS;
	my $rounds = 0;
	my @walkers;

	while (time() < $end)
	{
		for my $i (0 .. 2)
		{
			next if defined $walkers[$i] && running($walkers[$i]);
			is(errors($walkers[$i]), '', "$what: a walk ends without an error") if defined $walkers[$i];
			my $key = (q{'at, id'}, q{'at DESC, id DESC'}, q{'at, id DESC'}, 'NULL')[ int(rand(4)) ];
			my $call = sprintf('CALL walk(%d, %s, %s)', 1 + int(rand(90)), rand() < 0.4 ? 'true' : 'false', $key);
			my $native = rand() < 0.5 ? 'on' : 'off';
			$walkers[$i] = background($node, "SET pg_chunked.native = $native; " . join('', ("$call;\n") x 3) . '\q');
		}
		for my $change ($changes->())
		{
			my (undef, undef, $err) = $node->psql('postgres', "SET lock_timeout = '3s'; $change", on_error_stop => 0);
			diag($err) if $err && $err !~ /deadlock detected|lock timeout|already (?:exists|a partition)|not a partition|does not exist|would overlap|cannot (?:finalize|detach)|pending detach|is (?:already )?being detached/;
		}
		$rounds++;
	}
	is(errors($_), '', "$what: a walk ends without an error") for grep { defined } @walkers;
	is(value('SELECT count(*), min(what) FROM trouble WHERE what IS NOT NULL'), '0|', "$what: every row that stays was visited once, in order, over $rounds changes");
	note value('SELECT coalesce(sum(again), 0) FROM trouble') . " pages executed again";
	return;
}

sub running
{
	my ($background) = @_;
	$background->{run}->pump_nb;
	return $background->{run}->pumpable;
}

sub errors
{
	my ($walker) = @_;
	my (undef, $err) = $walker->ended;
	return join("\n", grep { /ERROR|FATAL|PANIC|connection/ } split(/\n/, $err));
}

go_on('as they come', \&change);

# A job of several workers
value('CREATE TABLE log (at int, id int)');
my $job = background($node, q{CALL chunked.run('ev', 'INSERT INTO log SELECT at, id FROM ev WHERE {chunk}', name => 'j', chunk_size => 17, workers => 2, pause => '20 ms');
\q});
while (running($job))
{
	$node->psql('postgres', "SET lock_timeout = '1s'; " . change(), on_error_stop => 0);
}
is(errors($job), '', 'a job runs while partitions come and go');
is(value('SELECT status FROM chunked.jobs'), 'done', 'to its end');
is(value('SELECT count(*) FROM stays s WHERE (SELECT count(*) FROM log l WHERE (l.at, l.id) = (s.at, s.id)) <> 1'), 0, 'and does every row that stays once');

# A job is created while somebody empties a partition of its rows and fills it again: its snapshot is from before.
for my $call ("SELECT chunked.create_job('ev', 'DELETE FROM ev WHERE {chunk}', name => 'waits')", "CALL chunked.run('ev', 'DELETE FROM ev WHERE {chunk}', dry_run => true)")
{
	my $other = session($node);
	$other->query('BEGIN; CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM ev WHERE at < 1000; TRUNCATE ev_0; INSERT INTO ev SELECT * FROM kept WHERE at >= 0');
	my $waiting = background($node, "$call;\n\\q");
	until_true(q{SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'ev_0'::regclass)});
	$other->query('COMMIT');
	is(errors($waiting), '', 'a job can be created while a partition is emptied: ' . substr($call, 0, 20));
	$other->quit;
}

# DETACH CONCURRENTLY
value('ALTER TABLE ev DETACH PARTITION ev_rest; DELETE FROM stays WHERE at < 0 OR at >= 12000; DELETE FROM trouble');
go_on('concurrently', \&change_concurrently);

$node->stop;
done_testing();
