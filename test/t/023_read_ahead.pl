# Blocks of a table that is not in memory are read before their rows are wanted:
# told by what the system says that the server's process has had read from the
# disk by the time that the first row of a page is there.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('read_ahead', 'shared_buffers = 64MB');

# Scattered in the order of id, and in the heap's order by n.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE event (id uuid PRIMARY KEY, n int NOT NULL UNIQUE, pad text);
INSERT INTO event SELECT md5(i::text)::uuid, i, repeat('x', 100) FROM generate_series(1, 200000) i;
CREATE TABLE part (id uuid PRIMARY KEY, pad text) PARTITION BY HASH (id);
CREATE TABLE part_0 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE part_1 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO part SELECT id, pad FROM event;
VACUUM ANALYZE;
SQL

# forget: nothing of the server is in memory, in so far as the system lets go of it.
sub forget
{
	$node->safe_psql('postgres', 'CHECKPOINT');
	$node->stop;
	system_or_bail('python3', '-c', <<'PYTHON', $node->data_dir);
import os, sys
os.sync()
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
PYTHON
	$node->start;
	return;
}

# blocks_read(SESSION): by its server process, from the disk; nothing where the system does not tell.
sub blocks_read
{
	my ($session) = @_;
	my $pid = $session->query('SELECT pg_backend_pid()');

	chomp $pid;
	return unless -r "/proc/$pid/io";
	return slurp_file("/proc/$pid/io") =~ /^read_bytes: (\d+)/m ? $1 / 8192 : undef;
}

# first_rows(PAGE, CONCURRENCY): the blocks that are read by the time that the first of its rows are there:
# some, since the first reads are timed, and not asked for.
sub first_rows
{
	my ($page, $concurrency) = @_;

	forget();
	my $session = session($node);
	my $before = blocks_read($session) // return;
	$session->query("SET effective_io_concurrency = $concurrency");
	$session->query("BEGIN; SAVEPOINT s; DECLARE c CURSOR FOR SELECT * FROM chunked.$page; FETCH 12 FROM c");
	my $read = blocks_read($session) - $before;
	$session->query('ROLLBACK TO s; COMMIT');
	return $read;
}

my $without = first_rows('page(NULL::event, 1000)', 0);

plan(skip_all => 'the system does not tell what a process reads, or does not let go of files') unless $without;

# On a disk that is about as fast as memory, it does not pay.
forget();
my ($blocks, $time) = $node->safe_psql('postgres', 'SET track_io_timing = on; EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM event ORDER BY id LIMIT 300') =~
  /Buffers: shared.*? read=(\d+).*?I\/O Timings: (?:shared )?read=([\d.]+)/s;

SKIP:
{
	skip('the disk is too fast', 2) unless $blocks && $time / $blocks > 0.06;
	cmp_ok(first_rows('page(NULL::event, 1000)', 8) - $without, '>', 50, 'scattered rows: read ahead');
	cmp_ok(first_rows('page(NULL::part, 1000)', 8) - first_rows('page(NULL::part, 1000)', 0), '>', 50, 'scattered rows of partitions');
}
cmp_ok(first_rows('page(NULL::event, 4)', 8) - $without, '<', 20, 'a page of a few rows: not');
cmp_ok(first_rows("page(NULL::event, 20, filter => 'n % 2 = 0')", 8) - $without, '<', 150, 'with a filter: not far beyond a small page');
cmp_ok(first_rows("page(NULL::event, 1000, key => 'n')", 8) - first_rows("page(NULL::event, 1000, key => 'n')", 0),
	'<', 20, 'rows in the order of the heap: left to the system');

# However a page ends, nothing is left behind: the server would warn of it.
my $session = session($node);
$session->query('BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT * FROM chunked.page(NULL::event, 1000); FETCH 10 FROM c; COMMIT; CLOSE c');
$session->query('BEGIN; DECLARE a CURSOR FOR SELECT id FROM chunked.page(NULL::event, 1000);'
	  . " DECLARE b CURSOR FOR SELECT id FROM chunked.page(NULL::event, 1000, upto => '{\"id\": \"80000000-0000-0000-0000-000000000000\"}', filter => 'n % 3 = 0')");
$session->query('FETCH 10 FROM a; FETCH 10 FROM b; FETCH 10 FROM a; CLOSE b; FETCH 300 FROM a; ROLLBACK');
is($session->query("SELECT count(*) FROM chunked.page(NULL::event, 1000, filter => 'n / (n - 7) > 0 OR true') a"), "1000", 'after these');
$node->psql('postgres', "SELECT count(*) FROM chunked.page(NULL::event, 200000, filter => '1 / (n - 77) = 0')");
unlike(slurp_file($node->logfile), qr/WARNING/, 'no warnings');

done_testing();
