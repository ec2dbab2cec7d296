# An index with damaged pages gives an error that says so, or the answer that it
# gave before; never a crash, an endless loop, or memory without bound.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Utils;
use Test::More;

use constant { BLOCK => 8192, HEADER => 24, SPECIAL => 8192 - 16, NEXT => 4, LEVEL => 8 };

my $node = start_node('damaged', 'ignore_checksum_failure = on', 'statement_timeout = 5s');

# Keys so long that few rows make three levels; and rows that share posting lists.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE event (id text COLLATE "C" PRIMARY KEY);
INSERT INTO event SELECT lpad(i::text, 6, '0') || repeat('x', 400) FROM generate_series(1, 8000) i;
CREATE TABLE shared (kind int);
INSERT INTO shared SELECT i % 200 FROM generate_series(1, 100000) i;
CREATE INDEX shared_kind ON shared (kind);
VACUUM ANALYZE;
-- what it gives, or the state and hint of its error
CREATE FUNCTION outcome(question text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	state text;
	hint text;
BEGIN
	EXECUTE question INTO answer;
	RETURN md5(answer);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, hint = PG_EXCEPTION_HINT;
	RETURN state || ' ' || hint;
END $$;
SQL

my %questions = (
	event_pkey => [
		q{SELECT chunked.row_count('event')},
		q{SELECT chunked.row_count('event', key => 'id DESC')},
		q{SELECT chunked.row_count('event', false)},
		q{SELECT chunked.seek('event', 7000, false)},
		q{SELECT string_agg(upto::text, ' ') FROM chunked.chunks('event', 500)},
		q{SELECT string_agg(upto::text, ' ') FROM chunked.chunks('event', 500, false)},
		q{SELECT string_agg(upto::text, ' ') FROM chunked.split('event', 20)},
		q{SELECT string_agg(upto::text, ' ') FROM chunked.split('event', 20, key => 'id DESC')},
	],
	shared_kind => [
		q{SELECT chunked.row_count('shared', false, 'kind')},
		q{SELECT string_agg(upto::text, ' ') FROM chunked.chunks('shared', 5000, false, key => 'kind')},
		q{SELECT string_agg(upto::text, ' ') FROM chunked.split('shared', 5, key => 'kind')},
	]);
my (%file, %sound, %before);
for my $index (keys %questions)
{
	$file{$index} = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('$index')");
	$before{$index} = [ outcomes($index) ];
	is(join(' ', grep { !/^[0-9a-f]{32}$/ } @{ $before{$index} }), '', "$index: all is answered");
}
$node->stop;
$sound{$_} = slurp_file($file{$_}) for keys %file;

sub outcomes
{
	my ($index) = @_;
	return map
	{
		my ($result, $out, $err) = $node->psql('postgres', "SELECT outcome(\$q\$$_\$q\$)");
		$result == 0 ? $out : $err;
	} @{ $questions{$index} };
}

# A page as hash: its block, level, right and left siblings, and items' lengths and places
sub pages
{
	my ($index) = @_;
	my @pages;

	for my $block (1 .. length($sound{$index}) / BLOCK - 1)
	{
		my $page = substr($sound{$index}, $block * BLOCK, BLOCK);
		my ($left, $right, $level) = unpack('VVV', substr($page, SPECIAL));
		my ($lower) = unpack('v', substr($page, 12, 2));
		my @items = map { { place => $_ & 0x7fff, length => $_ >> 17 } } unpack('V*', substr($page, HEADER, $lower - HEADER));

		push @pages, { block => $block, level => $level, left => $left, right => $right, items => \@items };
	}
	return @pages;
}

# damaged(WHAT, INDEX, [BLOCK, PLACE, BYTES]...): with these bytes in its pages, each
# question gets an error that says to rebuild the index, at least one of them does, or
# the answer that it got before.
sub damaged
{
	my ($what, $index, @patches) = @_;
	my $bytes = $sound{$index};

	substr($bytes, $_->[0] * BLOCK + $_->[1], length $_->[2]) = $_->[2] for @patches;
	open my $fh, '+<:raw', $file{$index} or die $!;
	print $fh $bytes;
	close $fh or die $!;

	$node->start;
	my @after = outcomes($index);
	$node->stop;

	my @wrong = grep { $after[$_] ne $before{$index}[$_] && $after[$_] !~ /^XX002 .*REINDEX INDEX public\.$index/ } 0 .. $#after;
	is(join("\n", map { "$questions{$index}[$_]: $after[$_]" } @wrong), '', $what);
	cmp_ok(scalar(grep { /^XX002/ } @after), '>', 0, "$what: is noticed");
	return;
}

my @event = pages('event_pkey');
my ($root) = grep { $_->{level} == 2 } @event;
my %level;
for my $level (0, 1)
{
	# from the left end to the right
	my ($page) = grep { $_->{level} == $level && $_->{left} == 0 } @event;
	for (; $page; ($page) = grep { $page->{right} && $_->{block} == $page->{right} } @event)
	{
		push @{ $level{$level} }, $page;
	}
}
cmp_ok(scalar @{ $level{1} }, '>', 4, 'the index has three levels');

my @leaves = @{ $level{0} };
my @parents = @{ $level{1} };
damaged('a circle of right links above the leaves', 'event_pkey', [ $parents[2]{block}, SPECIAL + NEXT, pack('V', $parents[1]{block}) ]);
damaged('a circle of right links of leaves', 'event_pkey', [ $leaves[9]{block}, SPECIAL + NEXT, pack('V', $leaves[3]{block}) ]);
damaged('a circle in both directions', 'event_pkey', [ $leaves[9]{block}, SPECIAL + NEXT, pack('V', $leaves[3]{block}) ],
	[ $leaves[3]{block}, SPECIAL, pack('V', $leaves[9]{block}) ]);

sub downlink
{
	my ($page, $number, $block) = @_;
	return [ $page->{block}, $page->{items}[$number]{place}, pack('vv', $block >> 16, $block & 0xffff) ];
}

my $last = $#{ $root->{items} };
damaged('the root leads to itself', 'event_pkey', map { downlink($root, $_, $root->{block}) } 0 .. $last);
damaged('the root leads to leaves', 'event_pkey', map { downlink($root, $_, $leaves[$_]{block}) } 0 .. $last);
damaged('a link leads to the metapage', 'event_pkey', map { downlink($parents[0], $_, 0) } 1 .. $#{ $parents[0]{items} });
damaged('a link leads beyond the end', 'event_pkey', map { downlink($parents[0], $_, 1000000) } 1 .. $#{ $parents[0]{items} });
damaged('a leaf says it is an inner page', 'event_pkey', [ $leaves[5]{block}, SPECIAL + LEVEL, pack('V', 1) ]);
damaged('an item lies beyond its page', 'event_pkey',
	map { my $leaf = $_; map { [ $leaf->{block}, HEADER + 4 * $_, pack('V', 32760 | 1 << 15 | 400 << 17) ] } 1 .. $#{ $leaf->{items} } } @leaves);

# A posting list's place within its item is where a plain item has the heap block, its
# length in the low bits of the offset.
my @posting;
for my $leaf (grep { $_->{level} == 0 } pages('shared_kind'))
{
	for my $number (0 .. $#{ $leaf->{items} })
	{
		my $item = $leaf->{items}[$number];
		my ($high, $low, $offset, $info) = unpack('v4', substr($sound{shared_kind}, $leaf->{block} * BLOCK + $item->{place}, 8));

		push @posting, [ $leaf->{block}, $item->{place} ] if $info & 0x2000 && $offset & 0x2000;
	}
}
cmp_ok(scalar @posting, '>', 100, 'there are posting lists');
damaged('posting lists too long', 'shared_kind', map { [ $_->[0], $_->[1] + 4, pack('v', 0x2fff) ] } @posting);
damaged('posting lists that start too late', 'shared_kind', map { [ $_->[0], $_->[1], pack('vv', 0, 30000) ] } @posting);

unlike(slurp_file($node->logfile), qr/terminated by signal|TRAP:|PANIC:/, 'nothing crashed');
done_testing();
