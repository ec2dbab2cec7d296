# Every query of every walk is an index range scan: an Index (Only) Scan whose
# range is in its Index Cond, never a Sort, a Seq Scan or a filter, whatever the
# shape of the key, the statistics and the user's planner settings.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Chunked;
use PostgreSQL::Test::Utils;
use Test::More;

my $ROWS = 1200;

# A shape is a table T, the key of a walk over it, an INSERT's select list from
# generate_series i, and what may be in the plans besides index scans.
#   t: column definitions; after: DDL that follows; key, filter: of the walk;
#   fixed: an index has all of the filter.
my @shapes = (
	# one index range
	{ name => 'single column', t => 'id int PRIMARY KEY', rows => 'i * 2' },
	{ name => 'single column, descending', t => 'id int PRIMARY KEY', rows => 'i * 2', key => 'id DESC' },
	{ name => 'unique index without primary key', t => 'id int NOT NULL UNIQUE, v int', rows => 'i, i % 3' },
	{ name => 'unique index with included column', t => 'id int NOT NULL, v int', rows => 'i, i',
		after => 'CREATE UNIQUE INDEX ON T (id) INCLUDE (v)' },
	{ name => 'nulls not distinct index', t => 'v int, id int', rows => 'nullif(i % 40, 0), i / 40',
		after => 'CREATE UNIQUE INDEX ON T (v, id) NULLS NOT DISTINCT' },
	{ name => 'two columns', t => 'a int, b int, PRIMARY KEY (a, b)', rows => 'i % 40, i' },
	{ name => 'two columns, descending', t => 'a int, b int, PRIMARY KEY (a, b)', rows => 'i % 40, i',
		key => 'a DESC, b DESC' },
	{ name => 'three columns', t => 'a int, b int, c int, PRIMARY KEY (a, b, c)', rows => 'i % 5, i % 40, i' },
	{ name => 'tiebreaker appended', t => 'id int PRIMARY KEY, a int NOT NULL', rows => 'i, i % 40',
		after => 'CREATE INDEX ON T (a, id)', key => 'a' },
	{ name => 'key longer than its unique set', t => 'id int PRIMARY KEY, a int, b int', rows => 'i, i % 40, i',
		key => 'id, a DESC, b', filters => 1 },
	{ name => 'index wider than the key', t => 'a int NOT NULL, id int NOT NULL UNIQUE, c int', rows => 'i % 40, i, i',
		after => 'CREATE INDEX ON T (a, id, c)', key => 'a, id' },

	# ladders
	{ name => 'mixed directions', t => 'id int PRIMARY KEY, a int NOT NULL, b int NOT NULL', rows => 'i, i % 5, i % 40',
		after => 'CREATE INDEX ON T (a, b DESC, id)', key => 'a, b DESC' },
	{ name => 'mixed directions, index read backwards', t => 'id int PRIMARY KEY, a int NOT NULL, b int NOT NULL',
		rows => 'i, i % 5, i % 40', after => 'CREATE INDEX ON T (a, b DESC, id)', key => 'a DESC, b, id DESC' },
	{ name => 'descending, ascending tiebreaker', t => 'id int PRIMARY KEY, a int NOT NULL', rows => 'i, i % 40',
		after => 'CREATE INDEX ON T (a DESC, id)', key => 'a DESC' },
	{ name => 'not null, index with nulls first', t => 'id int PRIMARY KEY, a int NOT NULL', rows => 'i, i % 40',
		after => 'CREATE INDEX ON T (a NULLS FIRST, id)', key => 'a NULLS LAST, id' },
	map({
			my ($direction, $nulls) = @$_;
			{ name => "nullable, $direction NULLS $nulls", t => 'id int PRIMARY KEY, n int', rows => 'i, nullif(i % 4, 0)',
				after => "CREATE INDEX ON T (n $direction NULLS $nulls, id)", key => "n $direction NULLS $nulls" },
			{ name => "nullable, $direction NULLS $nulls, index read backwards", t => 'id int PRIMARY KEY, n int',
				rows => 'i, nullif(i % 4, 0)', key => "n $direction NULLS $nulls, id DESC",
				after => 'CREATE INDEX ON T (n ' . ($direction eq 'ASC' ? 'DESC' : 'ASC') . ' NULLS '
				  . ($nulls eq 'FIRST' ? 'LAST' : 'FIRST') . ', id)' },
	} [ 'ASC', 'LAST' ], [ 'ASC', 'FIRST' ], [ 'DESC', 'LAST' ], [ 'DESC', 'FIRST' ]),
	{ name => 'two nullable columns', t => 'id int PRIMARY KEY, n int, m text',
		rows => q{i, nullif(i % 3, 0), nullif((i % 5)::text, '0')},
		after => 'CREATE INDEX ON T (n NULLS FIRST, m DESC NULLS LAST, id)', key => 'n NULLS FIRST, m DESC NULLS LAST' },
	{ name => 'nullable behind not null', t => 'id int PRIMARY KEY, a int NOT NULL, n int',
		rows => 'i, i % 5, nullif(i % 3, 0)', after => 'CREATE INDEX ON T (a, n, id)', key => 'a, n' },
	{ name => 'all nulls', t => 'id int PRIMARY KEY, n int', rows => 'i, NULL',
		after => 'CREATE INDEX ON T (n, id)', key => 'n' },

	# orders other than the type's own
	{ name => 'text_pattern_ops', t => 'id int PRIMARY KEY, v text NOT NULL', rows => q{i, md5((i % 400)::text)},
		after => 'CREATE INDEX ON T (v text_pattern_ops, id)', key => 'v text_pattern_ops' },
	{ name => 'text_pattern_ops, descending, nullable', t => 'id int PRIMARY KEY, v text',
		rows => q{i, nullif(i % 4, 0) || 'x'}, key => 'v text_pattern_ops DESC',
		after => 'CREATE INDEX ON T (v text_pattern_ops DESC, id)' },
	{ name => 'varchar_pattern_ops', t => 'id int PRIMARY KEY, v varchar(40) NOT NULL', rows => q{i, md5((i % 400)::text)},
		after => 'CREATE INDEX ON T (v varchar_pattern_ops, id)', key => 'v varchar_pattern_ops' },
	{ name => 'bpchar_pattern_ops', t => 'id int PRIMARY KEY, v char(40) NOT NULL', rows => q{i, md5((i % 400)::text)},
		after => 'CREATE INDEX ON T (v bpchar_pattern_ops, id)', key => 'v bpchar_pattern_ops' },
	{ name => 'collation in the key', t => 'id int PRIMARY KEY, v text NOT NULL', rows => q{i, md5((i % 400)::text)},
		after => 'CREATE INDEX ON T (v COLLATE "POSIX", id)', key => 'v COLLATE "POSIX"' },
	{ name => 'collation of the column', t => 'v text COLLATE "POSIX" PRIMARY KEY', rows => 'md5(i::text)' },
	{ name => 'natural-language collation', t => 'v text COLLATE "und-x-icu" PRIMARY KEY', rows => 'md5(i::text)',
		if => q{EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu')} },

	# types of all kinds, alone and in a row comparison
	map({
			my ($type, $value, $distinct) = @$_;
			$distinct //= $value;
			({ name => $type, type => 1, t => "v $type PRIMARY KEY", rows => $distinct },
				{ name => "$type and tiebreaker", type => 1, t => "id int PRIMARY KEY, v $type NOT NULL", rows => "i, $value",
					after => 'CREATE INDEX ON T (v, id)', key => 'v' })
	} [ 'bigint',    'i::bigint << 40' ],
		[ 'numeric(30,10)', 'i / 7.0' ],
		[ 'float8',    'i / 7.0' ],
		[ 'text',      'md5(i::text)' ],
		[ 'varchar(40)', 'md5(i::text)' ],
		[ 'char(40)',  'md5(i::text)' ],
		[ 'name',      'md5(i::text)' ],
		[ 'bytea',     q{decode(md5(i::text), 'hex')} ],
		[ 'uuid',      'md5(i::text)::uuid' ],
		[ 'timestamptz', q{'2020-01-01'::timestamptz + i * interval '1 us'} ],
		[ 'date',      q{'2020-01-01'::date + i} ],
		[ 'interval',  q{i * interval '1 day'} ],
		[ 'timetz',    q{'00:00+01'::timetz + i * interval '1 s'} ],
		[ 'inet',      q{'10.0.0.0'::inet + i} ],
		[ 'cidr',      q{set_masklen('10.0.0.0'::inet + i, 32)::cidr} ],
		[ 'macaddr',   q{('08:00:2b:00:' || to_char(i / 100, 'FM00') || ':' || to_char(i % 100, 'FM00'))::macaddr} ],
		[ 'bit(16)',   'i::bit(16)' ],
		[ 'bit varying(16)', 'i::bit(16)' ],
		[ 'oid',       'i::oid' ],
		[ 'regclass',  'i::oid::regclass' ],
		[ 'pg_lsn',    q{'0/0'::pg_lsn + i} ],
		[ 'int[]',     'ARRAY[i % 40, i]' ],
		[ 'text[]',    'ARRAY[md5(i::text)]' ],
		[ 'int4range', 'int4range(i, i + 5)' ],
		[ 'int4multirange', 'int4multirange(int4range(i, i + 5))' ],
		[ 'jsonb',     'to_jsonb(i)' ],
		[ 'pair',      'ROW(i % 40, i)::pair' ],
		[ 'mood',      '(enum_range(NULL::mood))[1 + i % 3]' ],
		[ 'positive',  'i' ],
		[ 'nested',    'i' ],
		[ 'word',      'md5(i::text)' ],
		[ 'words',     'ARRAY[md5(i::text)]::words' ],
		[ 'citext',    'md5(i::text)' ]),

	# the range over several tables
	{ name => 'partitioned by the key', t => 'a int, id int, PRIMARY KEY (a, id)', rows => 'i % 40, i',
		parts => 'RANGE (a)', after => join('; ', map { "CREATE TABLE T_$_ PARTITION OF T FOR VALUES FROM ("
					  . $_ * 10 . ') TO (' . ($_ * 10 + 10) . ')' } 0 .. 3) },
	{ name => 'partitioned by hash', t => 'id int PRIMARY KEY', rows => 'i', parts => 'HASH (id)',
		after => join('; ', map { "CREATE TABLE T_$_ PARTITION OF T FOR VALUES WITH (MODULUS 3, REMAINDER $_)" } 0 .. 2) },
	{ name => 'partitioned, mixed directions', t => 'a int, id int, PRIMARY KEY (a, id)', rows => 'i % 40, i',
		parts => 'RANGE (a)', key => 'a DESC, id',
		after => 'CREATE TABLE T_0 PARTITION OF T FOR VALUES FROM (0) TO (20); CREATE TABLE T_1 PARTITION OF T DEFAULT;'
		  . 'CREATE INDEX ON T (a DESC, id)' },
	{ name => 'partitioned, nullable', t => 'id int, n int, UNIQUE (id, n)', rows => 'i, nullif(i % 4, 0)',
		parts => 'LIST (n)', key => 'n, id',
		after => 'CREATE TABLE T_0 PARTITION OF T FOR VALUES IN (1, 2); CREATE TABLE T_1 PARTITION OF T FOR VALUES IN (NULL, 3);'
		  . 'CREATE INDEX ON T (n, id)' },
	{ name => 'inheritance parent', t => 'a int NOT NULL, id int PRIMARY KEY', rows => 'i % 40, i',
		after => 'CREATE INDEX ON T (a, id); CREATE TABLE T_c (PRIMARY KEY (id)) INHERITS (T);'
		  . 'CREATE INDEX ON T_c (a, id)', key => 'a, id' },

	# filters
	{ name => 'filter', t => 'id int PRIMARY KEY, kind int', rows => 'i, i % 2', filter => 'kind = 1' },
	{ name => 'filter on a ladder', t => 'id int PRIMARY KEY, n int', rows => 'i, nullif(i % 4, 0)',
		after => 'CREATE INDEX ON T (n, id)', key => 'n', filter => 'id % 2 = 1' },
	{ name => 'index behind an equality of the filter', t => 'id int PRIMARY KEY, owner int NOT NULL', rows => 'i, i % 7',
		after => 'CREATE INDEX ON T (owner, id)', filter => 'owner = 3', fixed => 1 },
	{ name => 'index behind two equalities, read backwards', t => 'id int PRIMARY KEY, a bool NOT NULL, b int NOT NULL, at int NOT NULL',
		rows => 'i, i % 2 = 0, i % 3, i % 40', after => 'CREATE INDEX ON T (b, a, at DESC, id DESC)', key => 'at',
		filter => '1 = b AND NOT a', fixed => 1 },
	{ name => 'partial index behind an equality of the filter', t => 'id int PRIMARY KEY, owner int, gone int',
		rows => 'i, i % 7, nullif(i % 3, 0)', after => 'CREATE INDEX ON T (owner, id) WHERE gone IS NULL',
		filter => 'gone IS NULL AND owner = 3', fixed => 1 },
	{ name => 'partial index implied by the filter', t => 'id int PRIMARY KEY, a int NOT NULL, kind int',
		rows => 'i, i % 40, i % 2', after => 'CREATE INDEX ON T (a, id) WHERE kind = 1', key => 'a', filter => 'kind = 1' },
);

my $TYPES = <<'SQL';
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (x int, y int);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN nested AS positive CHECK (VALUE < 1000000);
CREATE DOMAIN word AS text COLLATE "POSIX" CHECK (VALUE <> '');
CREATE DOMAIN words AS text[];
SQL

my $node = start_node('plans', 'jit = on');
my ($version) = $node->safe_psql('postgres', 'SHOW server_version_num') =~ /^(\d+)/;
$node->safe_psql('postgres', $TYPES);

@shapes = grep { !$_->{if} || $node->safe_psql('postgres', "SELECT $_->{if}") eq 't' } @shapes;
my $number = 0;
for my $shape (@shapes)
{
	$shape->{table} = sprintf('t%03d', ++$number);
	$shape->{distinct} = $shape->{t} eq 'v mood PRIMARY KEY';
}

for my $schema (qw(emptied fresh))
{
	$node->safe_psql('postgres', join("\n",
		"CREATE SCHEMA $schema; SET search_path = $schema, public;",
		map { table_ddl($_) } @shapes));
}

# The plans of the first session are made on tables that are empty, and analysed so.
my $session = explained(session($node));
$session->query('SET search_path = emptied, public; SET pg_chunked.native = off');
$node->safe_psql('postgres', 'ANALYZE');
check_all('made on empty tables', $session, walk_only => 1);
fill('emptied');
check_all('analysed when empty, then filled, plans kept', $session);
check_all('analysed when empty, then filled', undef, search_path => 'emptied', no_types => 1);

fill('fresh');
check_all('never analysed', undef);

# Steering works on what a user may set, so it must win over what he has set.
check_all('hostile settings', undef, settings => <<'SQL');
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
SET random_page_cost = 1000;
SET cpu_index_tuple_cost = 1000;
SET seq_page_cost = 0;
SET cpu_operator_cost = 0;
SET plan_cache_mode = force_custom_plan;
SET min_parallel_table_scan_size = 0;
SET min_parallel_index_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SQL

# A page is not worth compiling. Where the server can, the statement around it is.
check_all('compiling everything', undef, only => qr/^(single column|mixed directions|partitioned by the key|filter)$/,
	settings => 'SET jit = on; SET jit_above_cost = 0;');

$node->safe_psql('postgres', 'ANALYZE');
check_all('analysed', undef, no_types => 1);

lie('the table is huge and its indexes are worse', table => [ 1, 1e10 ], index => [ 1e8, 1e10 ]);
lie('the table is tiny and its indexes are huge', table => [ 1e6, 1 ], index => [ 1e8, 1e10 ]);

$node->stop;
done_testing();

sub table_ddl
{
	my ($shape) = @_;
	my $ddl = "CREATE TABLE T ($shape->{t})" . ($shape->{parts} ? " PARTITION BY $shape->{parts}" : '') . ';'
	  . ($shape->{after} // '') . ';';

	return $ddl =~ s/\bT(?=\b|_)/$shape->{table}/gr;
}

sub fill
{
	my ($schema) = @_;
	my @inserts = map {
		my $on_conflict = $_->{distinct} ? ' ON CONFLICT DO NOTHING' : '';
		my $child = $_->{name} eq 'inheritance parent'
		  ? "UPDATE $_->{table} SET id = id; WITH moved AS (DELETE FROM ONLY $_->{table} WHERE id % 3 = 0 RETURNING *)"
			. " INSERT INTO $_->{table}_c SELECT * FROM moved;" : '';
		"INSERT INTO $_->{table} SELECT $_->{rows} FROM generate_series(1, $ROWS) i$on_conflict; $child"
	} @shapes;

	$node->safe_psql('postgres', join("\n", "SET search_path = $schema, public;", @inserts));
}

# lie(WHAT, table => [pages, rows], index => [pages, rows]): the planner believes it.
sub lie
{
	my ($what, %sizes) = @_;
	my $update = join '', map {
		my $kinds = $_ eq 'table' ? q{'r'} : q{'i'};
		"UPDATE pg_class SET relpages = $sizes{$_}[0], reltuples = $sizes{$_}[1]"
		  . " WHERE relkind = $kinds AND relnamespace = 'fresh'::regnamespace;"
	} sort keys %sizes;

	$node->safe_psql('postgres',
		$update . 'UPDATE pg_statistic SET stanullfrac = 1 - stanullfrac, stadistinct = 1'
		  . q{ WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'fresh'::regnamespace)});
	check_all("lying statistics: $what", undef, no_types => 1);
	check_all("lying statistics and hostile settings: $what", undef, no_types => 1,
		settings => 'SET random_page_cost = 1000; SET enable_indexscan = off; SET cpu_index_tuple_cost = 100;');
}

# check_all(WHEN, SESSION or undef for a new one): one test a shape.
sub check_all
{
	my ($when, $on, %options) = @_;
	my $session = $on // explained(session($node));

	unless (defined $on)
	{
		my $path = $options{search_path} // 'fresh';
		my (undef, $complaint) = $session->query("SET search_path = $path, public; SET pg_chunked.native = off;" . ($options{settings} // ''));
		$complaint eq '' or die $complaint;
	}
	for my $shape (@shapes)
	{
		next if $shape->{type} && $options{no_types} || $options{only} && $shape->{name} !~ $options{only};
		my @complaints = check_shape($session, $shape, $options{walk_only});
		is(join("\n", @complaints), '', "$shape->{name}: $when");
	}
	$session->quit unless defined $on;
}

sub check_shape
{
	my ($session, $shape, $walk_only) = @_;
	my $t = $shape->{table};
	my $key = $shape->{key} ? "'$shape->{key}'" : 'NULL';
	my $filter = $shape->{filter} ? "'$shape->{filter}'" : 'NULL';
	my $how = "key => $key, filter => $filter";
	my @complaints;

	my ($all, $low, $high) = split /\|/, scalar $session->query(
		"SELECT count(*), (array_agg(quote_literal(p)))[count(*) / 3], (array_agg(quote_literal(p)))[count(*) * 2 / 3]"
		  . " FROM (SELECT chunked.position_of(p, $key) p FROM chunked.page(NULL::$t, 1000000, $how) p) p");

	if ($walk_only)
	{
		$session->query("SELECT chunked.bounds('$t', key => $key), count(*) FROM chunked.chunks('$t', $how)");
		return $all == 0 ? () : "not empty: $all";
	}
	return "no rows: $all" unless $all =~ /^\d+$/ && $all > 0 && defined $high;

	my %calls = (
		first => "page(NULL::$t, 7, $how)",
		after => "page(NULL::$t, 1000000, after => $high, $how)",
		upto => "page(NULL::$t, 1000000, upto => $low, $how)",
		between => "page(NULL::$t, 1000000, after => $low, upto => $high, $how)",
		before => "page(NULL::$t, 1000000, before => $low, $how)",
		'after and before' => "page(NULL::$t, 1000000, after => $low, before => $high, $how)",
		chunks => "chunks('$t', 100, after => $low, upto => $high, $how)",
		'chunks to the end' => "chunks('$t', 100, after => $low, $how)",
		next_chunk => "next_chunk('$t', 100, after => $low, upto => $high, $how)",
		scan_limit => "chunks('$t', 100, after => $low, upto => $high, scan_limit => 150, $how)",
		bounds => "bounds('$t', $how)",
	);
	my ($counts, @plans) = plans($session,
		join(';', map { "SELECT '$_', count(*) FROM chunked.$calls{$_}" } sort keys %calls));
	my %rows = map { split /\|/ } split /\n/, $counts;

	for my $plan (@plans)
	{
		my ($call) = $plan->{statement} =~ /'(.*?)'/;

		$plan->{call} = $call;
		push @complaints, map { "$call: $_" } check_plan($shape, $plan);
	}
	for my $call (sort keys %calls)
	{
		push @complaints, "$call: no plans" unless grep { $_->{call} eq $call } @plans;
	}
	if ($low ne $high)
	{
		push @complaints, "rows: $rows{upto} + $rows{between} + $rows{after} of $all"
		  if $rows{upto} + $rows{between} + $rows{after} != $all;
		push @complaints, "rows: $rows{before} before, $rows{upto} up to" if $rows{before} != $rows{upto} - 1;
		push @complaints, "rows: $rows{'after and before'} between, not $rows{between}"
		  if $rows{'after and before'} != $rows{between} - 1;
	}
	return @complaints;
}

# What is wrong with a plan: nothing, or lines.
sub check_plan
{
	my ($shape, $plan) = @_;
	my @complaints;

	# Proved empty when planned: nothing is read, whatever stands above it.
	return () if $plan->{text} =~ /One-Time Filter: false/ && $plan->{text} !~ /^(?!\s*Replaces:).* Scan /m;

	my @others = map { $_->{type} }
	  nodes_of_type('(?!(?:Limit|Result|Append|Merge Append|Index Scan|Index Only Scan)$).*', $plan);

	push @complaints, "@others in $plan->{query}" if @others;
	push @complaints, "compiled: $plan->{query}" if $plan->{text} =~ /^JIT:/m;
	for my $scan (nodes_of_type('.* Scan', $plan))
	{
		my $where = $plan->{query} =~ / WHERE (.*) ORDER BY /s ? $1 : '';

		# Without a range there is only the filter.
		$where = '' if $shape->{filter} && $where =~ /^\(\Q$shape->{filter}\E\n\)$/;
		push @complaints, "no Index Cond in $plan->{query}" if $where ne '' && !defined $scan->{'Index Cond'};
		push @complaints, "Filter $scan->{Filter} in $plan->{query}"
		  if defined $scan->{Filter} && (!$shape->{filter} || $shape->{fixed}) && !$shape->{filters};
	}
	return @complaints;
}
