# Torture.pm: a job in a round of accidents, and what must be true after it.
#
# A round draws from its seed: a table, with one of four kinds of key, plain or
# partitioned; a job over it, whose statement counts each row and logs it; faults
# in some of the rows; who runs the job; and the events that happen meanwhile.
# Then the job is run until only failed chunks are left, which must be those of
# the faulty rows; the faults are cured; and the job is brought to its end.
package Torture;

use strict;
use warnings FATAL => 'all';

use Chunked qw(background until_true);
use Digest::MD5 qw(md5);
use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

our @EXPORT = qw(torture_prepare torture_round);

my $WORKER = q{backend_type = 'pg_chunked worker'};
my $CALLER = q{backend_type = 'client backend' AND state = 'active' AND query LIKE '%CALL chunked.run_job(%' AND pid <> pg_backend_pid()};
my $RUNNER = qq{($WORKER OR ($CALLER))};

# How long a round's run may take to come about, in seconds
my $PATIENCE = 60;

# Each table has an id that tells its rows apart, and the columns of its key.
my %KEYS = (
	int => {
		columns => 'id bigint PRIMARY KEY',
		values => 'i * 3',
		partition => [ 'id', map { $_ * 3 } 0, 0.2, 0.5, 0.9 ],
	},
	composite => {
		columns => 'id bigint NOT NULL, a text, b bigint, PRIMARY KEY (a, b)',
		values => q{i, (ARRAY['', ' ', 'a"b', 'back\slash', 'ü', 'zz'])[1 + (hashint8(i) & 3) + i % 2], i * 7919 % 100003},
		partition => [ 'b', map { $_ * 40 } 0, 0.2, 0.5, 0.9 ],
	},
	mixed => {
		columns => 'id bigint PRIMARY KEY, a int, b text',
		values => q{i, CASE WHEN i % 9 > 0 THEN i * 31 % 40 END, CASE WHEN i % 5 > 0 THEN (i * 17 % 11)::text END},
		partition => [ 'id', 0, 0.2, 0.5, 0.9 ],
	},
	ties => {
		columns => 'id bigint NOT NULL, g int',
		values => 'i, CASE WHEN i % 50 > 0 THEN (i % 500) * (i % 3) END',
	},
);

# Faults, by what they are: of which rows one is, and how it is cured.  All are
# of rows of the log but "row", which is of the table's own.
my @FAULTS = qw(row now deferred late unique foreign flaky);

# A fault that is SQLSTATE's of rows, or of such that leave it open
my @SQLSTATES = qw(23514 23514 P0001 22012 42501 42883 55000 57014);

my $node;

sub value
{
	my ($sql) = @_;
	return Chunked::value("SET statement_timeout = '60s';\n$sql");
}

# torture_prepare NODE: what all rounds share.
sub torture_prepare
{
	($node) = @_;
	value(<<'SQL');
CREATE TABLE log (id bigint, u bigint NOT NULL, parent bigint, xid xid8 DEFAULT pg_current_xact_id(), slept boolean);
CREATE TABLE parent (id bigint PRIMARY KEY);
CREATE TABLE late (id bigint);
CREATE TABLE fault (id bigint PRIMARY KEY, kind text NOT NULL, sqlstate text NOT NULL);
CREATE TABLE hot (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
CREATE SEQUENCE tries;
ALTER TABLE log ADD UNIQUE (u) DEFERRABLE INITIALLY DEFERRED,
	ADD FOREIGN KEY (parent) REFERENCES parent DEFERRABLE INITIALLY DEFERRED;
INSERT INTO hot SELECT generate_series(0, 19);

-- tries: how often a flaky row fails; no transaction's end takes that back
CREATE FUNCTION meet_fault() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	met fault;
BEGIN
	SELECT * INTO met FROM fault f WHERE f.id = NEW.id AND f.kind = ANY (string_to_array(TG_ARGV[0], ' '));
	IF NOT FOUND THEN
		RETURN NULL;
	ELSIF met.kind = 'late' AND TG_ARGV[0] <> 'late' THEN
		-- from now on what is deferred is so until the commit
		EXECUTE 'SET CONSTRAINTS ALL DEFERRED';
		INSERT INTO late VALUES (NEW.id);
	ELSIF met.kind <> 'flaky' OR nextval('tries') < current_setting('torture.tries', true)::bigint THEN
		RAISE EXCEPTION '% fault of row %', met.kind, NEW.id USING ERRCODE = met.sqlstate;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER now AFTER INSERT ON log FOR EACH ROW EXECUTE FUNCTION meet_fault('now');
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON log DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION meet_fault('deferred flaky late');
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION meet_fault('late');

-- workers meet at rows outside the chunk
CREATE FUNCTION heat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE hot SET n = n + 1 WHERE id = hashint8(NEW.id) & 15;
	RETURN NULL;
END $$;
CREATE TRIGGER heat AFTER INSERT ON log FOR EACH ROW WHEN (NEW.id % 11 = 0) EXECUTE FUNCTION heat();
CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log (id, u, parent) VALUES (NEW.id, NEW.id, NEW.id);
	IF NEW.id % 25 = 0 THEN
		PERFORM pg_sleep(0.004);
	END IF;
	RETURN NULL;
END $$;
SQL
	return;
}

#
# A round
#

# torture_round SEED: one test, whatever happens; false if it failed.
sub torture_round
{
	my ($seed) = @_;
	my $r = { seed => $seed, said => [], deviations => [], callers => [], crashed => 0 };
	my $start = Time::HiRes::time();
	my $logged = -s $node->logfile;

	redraw($r, 0);
	$r->{described} = '';
	eval {
		make_table($r);
		make_job($r);
		note("CHUNKED_SEED=$seed: $r->{described}");
		accidents($r);
		run_to_failures($r);
		cure($r);
		run_to_end($r);
		1;
	} or deviates($r, $@);
	eval { check_end($r); 1 } or deviates($r, $@);
	check_log($r, $logged);
	my $ok = ok(!@{ $r->{deviations} }, "seed $seed: $r->{described}");
	note(sprintf('%.1f s: %s', Time::HiRes::time() - $start, join ', ', @{ $r->{said} }));
	if (!$ok)
	{
		diag("CHUNKED_SEED=$seed CHUNKED_TORTURE=1: $_") for $r->{described}, @{ $r->{said} }, @{ $r->{deviations} };
		diag($_) for eval { value(<<'SQL') };
SELECT j FROM chunked.ledger_jobs j;
SELECT v FROM chunked.ledger_carving v;
SELECT c FROM chunked.ledger_chunks c WHERE state <> 'done' OR attempts > 0 ORDER BY number LIMIT 50;
SELECT pid, backend_type, state, wait_event_type, wait_event, query FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL;
SQL
	}
	clear($r);
	return $ok;
}

sub deviates
{
	my ($r, @what) = @_;
	push @{ $r->{deviations} }, grep { defined } @what;
	return;
}

# expect ROUND, SQL, WANTED, WHAT
sub expect
{
	my ($r, $sql, $wanted, $what) = @_;
	my $got = value($sql);

	deviates($r, "$what: $got instead of $wanted") if $got ne $wanted;
	return;
}

# redraw ROUND, PLACE: what is drawn from here on goes by the seed and the place alone,
# and not by what has happened.
sub redraw
{
	my ($r, $place) = @_;
	srand(unpack('L', md5("$r->{seed} $place")));	# perl draws alike from seeds that are near
	return;
}

sub draw { return $_[ int(rand(@_)) ] }
sub between { return $_[0] + int(rand($_[1] - $_[0] + 1)) }

sub make_table
{
	my ($r) = @_;
	my $kind = (sort keys %KEYS)[ $r->{seed} % keys %KEYS ];
	my $key = $KEYS{$kind};
	my $rows = between(1200, 3000);
	my $partition = rand() < 0.5 ? $key->{partition} : undef;
	my $columns = $key->{columns};

	if ($kind eq 'mixed')
	{
		my @directions = map { "$_ " . draw('ASC', 'DESC') . ' NULLS ' . draw('FIRST', 'LAST') } 'a', 'b';

		$r->{key} = q{'} . join(', ', @directions) . q{'};
		$r->{index} = 'CREATE INDEX ON item (' . join(', ', @directions, 'id') . ')';
	}
	elsif ($kind eq 'ties')
	{
		$r->{key} = q{'g'};
		$r->{index} = 'CREATE INDEX ON item (g)';
		$partition = [ 'id', 0, 0.2, 0.5, 0.9 ] if rand() < 0.5;
	}
	my $sql = "CREATE TABLE item ($columns, n int NOT NULL DEFAULT 0)"
		. ($partition ? " PARTITION BY RANGE ($partition->[0]);\n" : ";\n");
	if ($partition)
	{
		my (undef, @from) = @$partition;
		my @bounds = ('MINVALUE', (map { int($_ * $rows) } @from[ 1 .. $#from ]), 'MAXVALUE');

		$sql .= "CREATE TABLE item_$_ PARTITION OF item FOR VALUES FROM ($bounds[$_ - 1]) TO ($bounds[$_]);\n"
			for 1 .. $#bounds;
	}
	value($sql . ($r->{index} // '') . ";\nINSERT INTO item SELECT $key->{values} FROM generate_series(1, $rows) i;\nANALYZE item");
	$r->{rows} = $rows;
	$r->{kind} = $kind;
	$r->{key_of} = $r->{key} // 'NULL';
	$r->{described} = "$kind key, " . ($partition ? 'partitioned' : 'plain') . ", $rows rows";
	return;
}

sub make_job
{
	my ($r) = @_;
	my @ids = split /\n/, value('SELECT id FROM item ORDER BY id');
	my @kinds = @FAULTS[ grep { rand() < 0.4 } 0 .. $#FAULTS ];
	my $by_trigger = rand() < 0.5;
	my $size = between(15, 120);
	my $attempts = between(1, 3);
	my $sql = "TRUNCATE log, late, fault, parent;\nUPDATE hot SET n = 0;\nALTER SEQUENCE tries RESTART;\n";
	my %faulty;

	$r->{on_error} = rand() < 0.75 ? 'continue' : 'stop';
	$r->{lock_timeout} = rand() < 0.5 ? between(20, 80) : 0;
	$r->{tries} = between(2, 8);
	for my $kind (@kinds)
	{
		for (1 .. between(1, 3))
		{
			my $id = draw(@ids);

			next if exists $faulty{$id};
			$faulty{$id} = $kind;
			$sql .= "INSERT INTO fault VALUES ($id, '$kind', '" . draw(@SQLSTATES) . "');\n";
		}
	}
	# of those that are there before, and of those that are not
	$sql .= q{INSERT INTO log (u) SELECT id FROM fault WHERE kind = 'unique';}
		. q{INSERT INTO parent SELECT id FROM item WHERE id NOT IN (SELECT id FROM fault WHERE kind = 'foreign');};
	$sql .= "ALTER DATABASE postgres SET torture.tries = $r->{tries};\n";
	$sql .= "CREATE CONSTRAINT TRIGGER deferred AFTER UPDATE ON item DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION meet_fault('row');\n";
	$sql .= "CREATE TRIGGER log AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION log_row();\n" if $by_trigger;

	my $statement = $by_trigger ? 'UPDATE item SET n = n + 1 WHERE {chunk}' : <<'SQL';
WITH done AS (UPDATE item SET n = n + 1 WHERE {chunk} RETURNING id)
INSERT INTO log (id, u, parent, slept) SELECT id, id, id, CASE WHEN id % 25 = 0 THEN pg_sleep(0.004) IS NULL END FROM done
SQL
	my $target = rand() < 0.3 ? q{, target_time => '20 ms'} : '';
	$sql .= "SELECT chunked.create_job('item', \$\$$statement\$\$, name => 'torture', chunk_size => $size, "
		. "max_attempts => $attempts, on_error => '$r->{on_error}', key => $r->{key_of}$target)";
	value($sql);
	$r->{faults} = join ' ', map { "$faulty{$_}:$_" } sort { $a <=> $b } keys %faulty;
	$r->{described} .= ", chunks of $size$target, " . ($by_trigger ? 'by trigger' : 'by statement')
		. ", $attempts attempts, on_error $r->{on_error}, lock_timeout $r->{lock_timeout}, tries $r->{tries}, faults ($r->{faults})";
	return;
}

#
# Running
#

sub status
{
	return value(q{SELECT status FROM chunked.jobs WHERE name = 'torture'});
}

# start_runner ROUND [, HOW]: somebody who runs the job
sub start_runner
{
	my ($r, $how) = @_;
	my $timeout = "SET lock_timeout = $r->{lock_timeout};\n";
	my $workers = between(2, 4);

	$how //= draw('call', 'call', 'workers', 'start_job', 'two calls');

	push @{ $r->{said} }, $how;
	if ($how eq 'start_job')
	{
		my $stderr = '';

		$node->psql('postgres', "$timeout SELECT chunked.start_job('torture', workers => $workers)", stderr => \$stderr);
		deviates($r, "start_job() said: $stderr")
			if $stderr =~ /ERROR/ && $stderr !~ /ERROR:  (?:\w{5}: )?job "torture" stopped at a row that fails/;
		return;
	}
	push @{ $r->{callers} }, background($node,
		"$timeout CALL chunked.run_job('torture'" . ($how eq 'workers' ? ", workers => $workers" : '') . ')')
		for 1 .. ($how eq 'two calls' ? 2 : 1);
	return;
}

# Errors that calls may end with: those of the events, and of a job that stops
# at a row.
my $ALLOWED = join '|', 'ERROR:  57014: canceling statement due to user request', 'ERROR:  57014: job "torture" was paused',
	'ERROR:  55000: the workers of job "torture" ended before it was done',
	'ERROR:  \w{5}: job "torture" stopped at a row that fails', 'FATAL:  57P0', 'WARNING:  57P0',
	'WARNING:  21000: a chunk of public.item has \d+ rows, since so many share the position', 'server closed the connection', 'connection to server', 'WARNING:  \w{5}: job "torture" is done, with failed chunks';

# callers_ended ROUND: waits for all calls, and looks at what they said.
sub callers_ended
{
	my ($r) = @_;

	for my $caller (splice @{ $r->{callers} })
	{
		my (undef, $messages) = $caller->ended;

		for (grep { /ERROR|FATAL|PANIC|WARNING/ } split /^(?=\w+:  |psql:)/m, $messages)
		{
			deviates($r, "a call said: $_") unless /$ALLOWED/;
		}
	}
	return;
}

# quiet: nobody is at the job any more.
sub quiet
{
	my ($r) = @_;

	until_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE $RUNNER", 'the end of all who run the job');
	callers_ended($r);
	return;
}

sub victim
{
	my ($condition) = @_;
	return draw(split /\n/, value("SELECT pid FROM pg_stat_activity WHERE $condition"));
}

# crash ROUND, CODE: what takes all sessions with it.
sub crash
{
	my ($r, $code) = @_;

	$code->();
	$r->{crashed}++;
	callers_ended($r);
	$node->poll_query_until('postgres', 'SELECT true') or die 'no restart after a crash';
	return;
}

sub crashes
{
	my $crashes = () = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g;
	return $crashes;
}

# killed ROUND, CONDITION: kill -9, upon which the server starts again
sub killed
{
	my ($r, $condition) = @_;
	my $pid = victim($condition) // return 0;
	my $crashes = crashes();

	return 0 unless kill('KILL', $pid);
	crash($r, sub {
		for (1 .. 600)
		{
			return if crashes() > $crashes;
			Time::HiRes::sleep(0.05);
		}
		die 'no restart after kill -9';
	});
	return 1;
}

sub signalled
{
	my ($function, $condition) = @_;
	my $pid = victim($condition) // return 0;

	value("SELECT $function($pid)");
	return 1;
}

sub alter
{
	my ($settings) = @_;

	value("SELECT chunked.alter_job('torture', $settings)");
	return $settings;
}

# What happens while the job runs; false: there was nobody for it to happen to.
my %EVENTS = (
	'kill a worker' => sub { killed($_[0], $WORKER) },
	'kill a caller' => sub { killed($_[0], $CALLER) },
	'stop at once' => sub {
		# first the calls: a server that is started now would inherit their pipes
		$node->stop('immediate');
		callers_ended($_[0]);
		others_ended($_[0]);
		crash($_[0], sub { $node->start });
		return 1;
	},
	'terminate a worker' => sub { signalled('pg_terminate_backend', $WORKER) },
	'terminate a caller' => sub { signalled('pg_terminate_backend', $CALLER) },
	'cancel a caller' => sub { signalled('pg_cancel_backend', $CALLER) },
	'chunk_size' => sub { alter('chunk_size => ' . between(5, 200)) },
	'target_time' => sub { alter(q{target_time => '} . draw(0, 5, 30) . q{ ms'}) },
	'pause' => sub { alter(q{pause => '} . draw(0, 5, 20) . q{ ms'}) },
	'max_attempts' => sub { alter('max_attempts => ' . between(1, 4)) },
	'pause_job' => sub {
		value(q{SELECT chunked.pause_job('torture')});
		quiet($_[0]);
		my $status = status();
		deviates($_[0], "$status after pause_job()") unless $status =~ /^(?:paused|done)$/;
		value(q{SELECT chunked.resume_job('torture')}) if rand() < 0.5;
		return 1;
	},
	'pause and resume' => sub {
		value(q{SELECT chunked.pause_job('torture'); SELECT chunked.resume_job('torture')});
		return 1;
	},
	'retry_failed' => sub { 'of ' . value(q{SELECT chunked.retry_failed('torture')}) },
	'retry_failed, in a long transaction' => sub {
		my $ms = between(100, 400) / 1000;

		push @{ $_[0]->{others} }, background($node,
			"BEGIN;\nSELECT chunked.retry_failed('torture');\nSELECT pg_sleep($ms);\nCOMMIT");
		return 1;
	},
	'lock rows' => sub {
		my $ms = between(100, 700) / 1000;
		my $modulus = between(300, 2000);

		push @{ $_[0]->{others} }, background($node,
			"BEGIN;\nSELECT id FROM item WHERE id % $modulus = 7 ORDER BY random() FOR UPDATE;\nSELECT pg_sleep($ms);\nCOMMIT");
		return "% $modulus for $ms s";
	},
	'lock the table' => sub {
		my $ms = between(50, 400) / 1000;

		push @{ $_[0]->{others} }, background($node, "BEGIN;\nLOCK item IN SHARE MODE;\nSELECT pg_sleep($ms);\nCOMMIT");
		return "for $ms s";
	},
);

sub accidents
{
	my ($r) = @_;

	for my $place (1 .. between(3, 5))
	{
		redraw($r, $place);
		my $event = draw(sort keys %EVENTS);
		my $pause = rand(0.2);

		next if $r->{crashed} >= 2 && $event =~ /kill|stop/;
		callers_ended($r) unless value("SELECT count(*) FROM pg_stat_activity WHERE $CALLER");
		# somebody whom it can happen to
		my $needed = $event =~ /worker/ ? $WORKER : $event =~ /caller/ ? $CALLER : $RUNNER;
		my $there = "SELECT count(*) > 0 FROM pg_stat_activity WHERE $needed";

		if (value($there) eq 'f' && status() !~ /^(?:done|failed)$/)
		{
			start_runner($r, $event =~ /worker/ ? draw('workers', 'start_job')
				: $event =~ /caller/ ? draw('call', 'two calls') : undef);
			until_true("SELECT ($there) OR (SELECT status IN ('done', 'failed') FROM chunked.jobs)", 'a runner');
		}
		Time::HiRes::sleep($pause);
		redraw($r, $place + 500);
		my $happened = $EVENTS{$event}->($r);
		push @{ $r->{said} }, $happened ? "$event ($happened) at " . value('SELECT count(id) FROM log') : "(no $event)";
	}
	return;
}

# run_to_failures ROUND: to where only failed chunks are left, which are those of
# the faulty rows.
sub run_to_failures
{
	my ($r) = @_;

	quiet_by_pause($r);
	others_ended($r);
	value(q{SELECT chunked.alter_job('torture', pause => '0', on_error => 'continue')});
	for (my $times = 1;; $times++)
	{
		my ($open) = value(q{SELECT NOT carved_all OR EXISTS (SELECT FROM chunked.job_chunks WHERE job = 'torture' AND state NOT IN ('done', 'failed'))
			FROM chunked.ledger_carving});

		last if $open eq 'f';
		die 'the job does not come to where only failed chunks are left' if $times > 30;
		redraw($r, 100 + $times);
		start_runner($r);
		Time::HiRes::sleep(0.05);
		quiet($r);
	}
	my $faulty = q{(SELECT id FROM fault WHERE kind <> 'flaky')};
	my $shares = $r->{kind} eq 'ties' ? 'row_count < 1' : 'row_count <> 1';

	expect($r, "SELECT count(*) FROM item WHERE n <> 1 AND id NOT IN (SELECT id FROM fault)"
		. ($r->{kind} eq 'ties' ? ' AND NOT EXISTS (SELECT FROM item i JOIN fault USING (id) WHERE i.g IS NOT DISTINCT FROM item.g)' : ''),
		0, 'rows without a fault that are not done');
	expect($r, "SELECT count(*) FROM item WHERE n > 0 AND id IN $faulty", 0, 'faulty rows that are done');
	expect($r, "SELECT count(*) FROM chunked.job_chunks WHERE job = 'torture' AND state = 'failed' AND ($shares OR error IS NULL
		OR failed_key NOT IN (SELECT chunked.position_of(i, key => $r->{key_of}) FROM item i JOIN fault USING (id)))",
		0, 'failed chunks that are not of a faulty row');
	expect($r, "SELECT count(DISTINCT chunked.position_of(i, key => $r->{key_of})) = (SELECT count(*) FROM chunked.job_chunks
		WHERE job = 'torture' AND state = 'failed' AND failed_key NOT IN (SELECT chunked.position_of(i, key => $r->{key_of}) FROM item i JOIN fault USING (id) WHERE kind = 'flaky'
		EXCEPT SELECT chunked.position_of(i, key => $r->{key_of}) FROM item i JOIN fault USING (id) WHERE kind <> 'flaky'))
		FROM item i WHERE id IN $faulty", 't', 'a failed chunk for each faulty position');
	check_sums($r);
	return;
}

# quiet_by_pause ROUND: however many are at it
sub quiet_by_pause
{
	my ($r) = @_;

	value(q{SELECT chunked.pause_job('torture')});
	quiet($r);
	return;
}

sub others_ended
{
	my ($r) = @_;

	for my $other (splice @{ $r->{others} // [] })
	{
		my (undef, $messages) = $other->ended;

		deviates($r, "another session said: $messages") if $messages =~ /XX\d\d\d|PANIC/;
	}
	return;
}

sub cure
{
	my ($r) = @_;

	value(q{DELETE FROM log WHERE id IS NULL; INSERT INTO parent SELECT id FROM fault WHERE kind = 'foreign'; TRUNCATE fault});
	my $failed = value(q{SELECT count(*) FROM chunked.job_chunks WHERE job = 'torture' AND state = 'failed'});
	my $retried = value(q{SELECT chunked.retry_failed('torture')});
	deviates($r, "retry_failed() returned $retried, of $failed failed chunks") if $retried != $failed;
	push @{ $r->{said} }, "$failed chunks cured";
	return;
}

# run_to_end ROUND: now one call is enough.
sub run_to_end
{
	my ($r) = @_;

	redraw($r, 200);
	start_runner($r);
	until_true(q{SELECT status = 'done' FROM chunked.jobs WHERE name = 'torture'}, 'the end of a job whose faults are cured');
	quiet($r);
	return;
}

#
# What must be true
#

# check_sums ROUND: the ledger adds up, and progress with it.
sub check_sums
{
	my ($r) = @_;

	expect($r, q{SELECT chunks_done, chunks_failed, rows_done, rows_affected, retries, rows_total FROM chunked.progress},
		value(<<'SQL'), 'progress, of done and failed chunks, rows, retries, total');
SELECT count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'failed'),
       coalesce(sum(row_count) FILTER (WHERE state = 'done'), 0), coalesce(sum(rows_affected) FILTER (WHERE state = 'done'), 0),
       sum(attempts), sum(row_count)
FROM chunked.job_chunks
SQL
	expect($r, <<"SQL", "t|t|t|$r->{rows}", 'the chunks follow each other from the start to the high-water mark');
WITH RECURSIVE c AS (SELECT * FROM chunked.ledger_chunks),
chain (number, upto, row_count, place) AS (
	SELECT number, upto, row_count, 1 FROM c WHERE after IS NULL
	UNION ALL
	SELECT c.number, c.upto, c.row_count, place + 1 FROM chain JOIN c ON c.after = chain.upto WHERE place < 100000)
SELECT count(*) = (SELECT count(*) FROM c), count(DISTINCT number) = count(*),
       (array_agg(upto ORDER BY place DESC))[1] = (SELECT high_water FROM chunked.ledger_jobs), sum(row_count)
FROM chain
SQL
	expect($r, q{SELECT count(*) FROM chunked.job_chunks WHERE row_count = 0 OR (state = 'done' AND row_count <> rows_affected)},
		0, 'chunks that did not do the rows that they have');
	# each done chunk is one transaction that logged as many rows
	expect($r, <<'SQL', 't', 'the log has the rows of each done chunk, by one transaction');
SELECT (SELECT array_agg(rows ORDER BY rows) FROM (SELECT count(*) AS rows FROM log WHERE id IS NOT NULL GROUP BY xid) l)
       IS NOT DISTINCT FROM (SELECT array_agg(rows_affected ORDER BY rows_affected) FROM chunked.job_chunks WHERE state = 'done')
SQL
	return;
}

sub check_end
{
	my ($r) = @_;

	expect($r, q{SELECT n, count(*) FROM item GROUP BY n ORDER BY n}, "1|$r->{rows}", 'every row counted once');
	expect($r, q{SELECT count(*), count(DISTINCT id) FROM log}, "$r->{rows}|$r->{rows}", 'every row logged once');
	expect($r, q{SELECT (SELECT sum(n) FROM hot) = (SELECT count(*) FROM log WHERE id % 11 = 0)}, 't', 'triggers ran once a row');
	expect($r, q{SELECT status, workers, waiting, error_sqlstate FROM chunked.jobs}, 'done|0||', 'the job');
	expect($r, q{SELECT fraction, chunks_failed, rows_done, rows_total, workers FROM chunked.progress},
		"1|0|$r->{rows}|$r->{rows}|0", 'its progress');
	expect($r, q{SELECT count(*) FROM chunked.ledger_chunks WHERE state <> 'done' OR error IS NOT NULL OR retry_at IS NOT NULL
		OR lease_until IS NOT NULL OR failed_key IS NOT NULL}, 0, 'chunks that are not done, or keep an error');
	expect($r, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}, 0, 'locks that are left');
	expect($r, "SELECT count(*) FROM pg_stat_activity WHERE $RUNNER OR state LIKE 'idle in%'", 0, 'sessions that are left');
	check_sums($r);
	push @{ $r->{said} }, 'deadlocks' if value('SELECT turns_ms FROM chunked.ledger_jobs') > 0;
	return;
}

# check_log ROUND, FROM: nothing went wrong inside the server.
sub check_log
{
	my ($r, $from) = @_;
	my %seen;

	for (split /\n/, substr(slurp_file($node->logfile), $from))
	{
		next unless /PANIC:|TRAP:|terminated by signal (?!9:)|was not closed|refcount leak|leaked|leak: |WARNING:  .*(?:snapshot|transaction)| XX\w\d\d (?:ERROR|FATAL)/;
		next if /terminating connection because|due to crash/;
		deviates($r, "log: $_") unless $seen{ s/^.*?\] //r }++;
	}
	return;
}

sub clear
{
	my ($r) = @_;

	eval {
		others_ended($r);
		value("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE $RUNNER");
		callers_ended($r);
		value(q{SELECT chunked.drop_job('torture'); DROP TABLE item});
		1;
	} or BAIL_OUT("cannot clear a round: $@");
	return;
}

1;
