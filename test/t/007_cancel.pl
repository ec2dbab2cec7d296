# Cancel and statement_timeout act at once, however long a call would run.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use Test::More;

# More than the answer takes, for machines that are busy; far less than any call runs.
my $PATIENCE = 500;

my $node = start_node('cancel');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE event (id int PRIMARY KEY, a int NOT NULL, t text NOT NULL);
INSERT INTO event SELECT i, hashint4(i), md5(i::text) FROM generate_series(1, 1000000) i;
CREATE FUNCTION slow(int) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN PERFORM count(*) FROM generate_series(1, 500); RETURN $1 < 0; END $$;
CREATE VIEW visible AS SELECT * FROM event;
ANALYZE;
SQL

my %calls = (
	'page by an order that no index supports' => q{page(NULL::event, 1000000, key => 't DESC, a')},
	'page with a filter that is never true' => q{page(NULL::event, 10, filter => 'slow(id)')},
	'page backwards, likewise' => q{page(NULL::event, 10, before => '{"id": 900000}', filter => 'slow(id)')},
	'one large page' => q{page(NULL::event, 100000000)},
	'chunks of one row' => q{chunks('event', 1)},
	'chunks by an order that no index supports' => q{chunks('event', 1, key => 't')},
	'chunks with a filter' => q{chunks('event', 10, filter => 'slow(id)')},
	'next_chunk with a filter' => q{next_chunk('event', 10, filter => 'slow(id)')},
	'scan_limit' => q{chunks('event', 10, filter => 'slow(id)', scan_limit => 100000)},
	'bounds with a filter' => q{bounds('event', filter => 'slow(id)')},
	'a view' => q{chunks('visible', 1, key => 't, id')},
);

my $session = session($node);
my $canceller = session($node);
my $pid = $session->query('SELECT pg_backend_pid()');
$session->query('SET client_min_messages = error');

for my $what (sort keys %calls)
{
	my $sql = "SELECT count(*) FROM chunked.$calls{$what}";
	my ($out, $err);

	my $elapsed = elapsed_ms(sub { ($out, $err) = $session->query("SET statement_timeout = 100; $sql") });
	$session->query('RESET statement_timeout');
	like($err, qr/canceling statement due to statement timeout/, "$what: timeout");
	cmp_ok($elapsed, '<', 100 + $PATIENCE, "$what: in time");

	$session->send($sql);
	Time::HiRes::sleep(0.1);
	$elapsed = elapsed_ms(sub {
		$canceller->query("SELECT pg_cancel_backend($pid)");
		($out, $err) = $session->receive;
	});
	like($err, qr/canceling statement due to user request/, "$what: cancel");
	cmp_ok($elapsed, '<', $PATIENCE, "$what: at once");
}

# In the select list, after some chunks came; and from a cursor left open.
my ($out, $err) = $session->query("SET statement_timeout = 100; SELECT chunked.chunks('event', 1)");
like($err, qr/statement timeout/, 'streaming chunks');
$session->query('RESET statement_timeout');
$session->query("BEGIN; DECLARE c CURSOR FOR SELECT chunked.chunks('event', 10); FETCH 3 FROM c; SAVEPOINT s");
($out, $err) = $session->query("SET LOCAL statement_timeout = 100; SELECT FROM chunked.page(NULL::event, 10, filter => 'slow(id)')");
like($err, qr/statement timeout/, 'a page within the transaction of an open cursor');
is($session->query("ROLLBACK TO s; SELECT count(*) FROM (SELECT 1) x; FETCH 1 FROM c") =~ /\(4,/, 1, 'the cursor goes on');
$session->query('COMMIT');
is($session->query("SELECT array_agg(id) FROM chunked.page(NULL::event, 3, after => '{\"id\": 1000}')"), '{1001,1002,1003}',
	'the session walks on');

# A backend that is terminated, and one that waits for a lock
my $locker = session($node);
$locker->query('BEGIN; LOCK TABLE event');
($out, $err) = $session->query("SET lock_timeout = 100; SELECT FROM chunked.page(NULL::event, 1)");
like($err, qr/canceling statement due to lock timeout/, 'lock_timeout');
$locker->query('COMMIT');
is($session->query("RESET lock_timeout; SELECT count(*) FROM chunked.page(NULL::event, 1)"), 1, 'and no lock is left behind');
is($canceller->query("SELECT count(*) FROM pg_locks WHERE relation = 'event'::regclass"), 0, 'nor after any call that was over');

$_->quit for $session, $canceller, $locker;
$node->stop;
done_testing();
