# A table of more partitions than the server has buffers can be split: no more than
# a few of its pages are pinned at a time, whatever the number of partitions.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use Test::More;

my $PARTS = 300;
my $node = start_node('partitions', 'shared_buffers = 1MB', 'max_connections = 10', 'max_locks_per_transaction = 1000');
$node->safe_psql('postgres', <<SQL);
CREATE TABLE event (id int PRIMARY KEY) PARTITION BY HASH (id);
SELECT format('CREATE TABLE event_%s PARTITION OF event FOR VALUES WITH (MODULUS $PARTS, REMAINDER %1\$s)', i) FROM generate_series(0, $PARTS - 1) i \\gexec
INSERT INTO event SELECT generate_series(1, 60000);
VACUUM ANALYZE event;
SQL
is($node->safe_psql('postgres', q{SELECT setting FROM pg_settings WHERE name = 'shared_buffers'}), 128, 'fewer buffers than partitions');

# Exactly, as well: boundaries, ranks and counts, that are the same by a table of its own
$node->safe_psql('postgres', 'CREATE TABLE plain (id int PRIMARY KEY); INSERT INTO plain SELECT generate_series(1, 60000); VACUUM plain');
for my $what ("md5(string_agg(concat(number, upto, row_count), ' ' ORDER BY number)) FROM chunked.chunks('%s', 700)",
	"md5(string_agg(concat(number, upto, row_count), ' ' ORDER BY number)) FROM chunked.chunks('%s', 30, key => 'id DESC')",
	"md5(string_agg(concat(number, upto, row_count), ' ' ORDER BY number)) FROM chunked.split('%s', 9, true)",
	"chunked.seek('%s', 50000)", "chunked.row_count('%s')")
{
	my ($result, $out, $err) = $node->psql('postgres', 'SELECT ' . sprintf($what, 'event'));
	is("$out$err", $node->safe_psql('postgres', 'SELECT ' . sprintf($what, 'plain')), $what);
}

for my $key ('id', 'id DESC')
{
	for my $call (qq{split('event', 4, key => '$key')}, qq{chunks('event', 15000, false, key => '$key')})
	{
		my ($result, $out, $err) = $node->psql('postgres', "SELECT count(*), min(upto->>'id'), max((upto->>'id')::int), string_agg(after->>'id', ' ') IS NOT NULL FROM chunked.$call");
		is($err, '', "$call: no error");
		like($out, $key eq 'id' ? qr/^[345]\|\d+\|60000\|t$/ : qr/^[345]\|1\|\d+\|t$/, "$call: to the end");
	}
}
my ($result, $out, $err) = $node->psql('postgres', q{SELECT chunked.row_count('event', false) BETWEEN 55000 AND 65000});
is("$out$err", 't', 'and its rows be estimated');

$node->stop;
done_testing();
