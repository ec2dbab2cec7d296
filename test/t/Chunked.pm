# Chunked.pm: what the TAP tests share.
#
# A test sees what the extension asks of the server through auto_explain: plans()
# gives the plan of every query that ran inside a statement, with actual row
# counts and buffers.
package Chunked;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes ();

our @EXPORT = qw(start_node use_node value until_true explained plans nodes_of_type session background start_pooler elapsed_ms);

# That of value() and until_true(): the one that start_node() started last, or of use_node().
my $current_node;

# start_node NAME [SETTING...]: a server with the extension in its database
# "postgres". Nothing is analysed or vacuumed unless a test does it.
sub start_node
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf',
		join("\n", 'autovacuum = off', 'fsync = off', @settings, ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_chunked');
	$current_node = $node;
	return $node;
}

# use_node(NODE): value() and until_true() ask this one.
sub use_node
{
	($current_node) = @_;
	return;
}

# value(SQL): its output; an error ends the test.
sub value
{
	my ($sql) = @_;
	return $current_node->safe_psql('postgres', $sql);
}

# until_true(SQL [, WHAT]): waits for a query to return true, through a restart of the server as well.
sub until_true
{
	my ($sql, $what) = @_;
	my $until = Time::HiRes::time() + $PostgreSQL::Test::Utils::timeout_default;

	until (($current_node->psql('postgres', $sql))[1] eq 't')
	{
		die(($what // $sql) . ' does not come about') if Time::HiRes::time() > $until;
		Time::HiRes::sleep(0.03);
	}
	return;
}

# explained(SESSION): from now on plans() can tell what it runs. The plans come as
# notices, since those are not written to the server's log as well.
sub explained
{
	my ($session) = @_;

	$session->query(<<'SQL');
LOAD 'auto_explain';
SET auto_explain.log_level = notice;
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_nested_statements = on;
SET auto_explain.log_analyze = on;
SET auto_explain.log_buffers = on;
SET auto_explain.log_timing = off;
SET auto_explain.log_verbose = on;
SQL
	return $session;
}

# plans(SESSION, SQL): its output, and what ran inside its statements, each as
# {statement, query, text, nodes: [{type, rows, loops, 'Index Cond' and the like}...]}.
sub plans
{
	my ($session, $sql) = @_;
	my ($output, $log) = $session->query($sql);
	my (@plans, @inside);

	for my $message (split /^(?=[A-Z]+:  )/m, $log)
	{
		die "$sql: $message" if $message =~ /^(?:ERROR|FATAL|PANIC):/;
		next unless $message =~ /^NOTICE:  duration: \S+ ms  plan:\nQuery Text: (.*?)\n(^\S[^\n]*  \(cost=.*)/ms;

		if (index($1, 'chunked.') < 0)
		{
			push @inside, { query => $1, text => $2, nodes => plan_nodes($2) };
			next;
		}

		# The plan of the statement itself comes last.
		$_->{statement} = $1 for @inside;
		push @plans, splice @inside;
	}
	return ($output, @plans);
}

sub plan_nodes
{
	my ($text) = @_;
	my @nodes;

	for (split /\n/, $text)
	{
		if (/^ *(?:->  )?(?:Parallel )?([A-Z][A-Za-z ]*?)(?: Backward)?(?: using .*?)?(?: on .*?)?  \(cost=.*?\)(?: \((.*)\))?$/)
		{
			my ($type, $actual) = ($1, $2 // '');

			push @nodes, { type => $type };
			$nodes[-1]{$1} = $2 while $actual =~ /(rows|loops)=([\d.]+)/g;
			$nodes[-1]{loops} //= 0;
		}
		elsif (@nodes && /^ +([A-Z][A-Za-z ]*): (.*)$/)
		{
			$nodes[-1]{$1} = $2;
		}
	}
	return \@nodes;
}

# nodes_of_type(PATTERN, PLAN...): those whose type matches it in full.
sub nodes_of_type
{
	my ($pattern, @plans) = @_;
	return grep { $_->{type} =~ /^(?:$pattern)$/ } map { @{ $_->{nodes} } } @plans;
}

# session(NODE [, DATABASE [, SETTINGS]]): a psql that stays connected.
sub session
{
	return Chunked::Session->new(@_);
}

# background(NODE, SQL [, DATABASE [, SETTINGS]]): a psql that runs it and ends. Unlike a
# session, it may lose its connection.
sub background
{
	return Chunked::Background->new(@_);
}

my @poolers;

# start_pooler(NODE, SIZE): a pgbouncer in transaction mode, with that many
# backends; its connection string, or nothing where there is no pgbouncer.
sub start_pooler
{
	my ($node, $size) = @_;
	my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';
	return unless $pgbouncer;

	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $user = $node->safe_psql('postgres', 'SELECT current_user');
	append_to_file("$dir/users", qq("$user" ""\n));
	append_to_file("$dir/pgbouncer.ini", <<INI);
[databases]
postgres = host=${\$node->host} port=${\$node->port} dbname=postgres
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
default_pool_size = $size
server_round_robin = 1
ignore_startup_parameters = extra_float_digits
logfile = $dir/log
INI

	my ($in, $out) = ('', '');
	my $pooler = IPC::Run::start([ $pgbouncer, "$dir/pgbouncer.ini" ], '<', \$in, '>&', \$out);
	push @poolers, $pooler;
	my $tries = 0;
	until (-S "$dir/.s.PGSQL.$port")
	{
		die "pgbouncer did not start: $out" unless $pooler->pumpable && $tries++ < 100;
		Time::HiRes::sleep(0.1);
	}
	return "host=$dir port=$port dbname=postgres user=$user";
}

END
{
	# However the test ends; what it ends with is not the pooler's business.
	local $?;
	$_->kill_kill for @poolers;
}

# elapsed_ms(CODE): how long it takes.
sub elapsed_ms
{
	my ($code) = @_;
	my $start = Time::HiRes::time();
	$code->();
	return (Time::HiRes::time() - $start) * 1000;
}

# A psql that stays connected. PostgreSQL's own differs between majors.
package Chunked::Session;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use Time::HiRes ();

sub new
{
	my ($class, $node, $database, $connstr) = @_;
	my $self = bless { in => '', out => '', err => '', number => 0 }, $class;

	$connstr //= $node->connstr($database // 'postgres');
	$self->{timer} = IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default);
	$self->{run} = IPC::Run::start(
		[ 'psql', '-XqAt', '-v', 'VERBOSITY=default', '-d', $connstr ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer});
	return $self;
}

# send SQL: without waiting for its end.
sub send
{
	my ($self, $sql) = @_;
	my $mark = '__' . ++$self->{number} . '__';

	$self->{timer}->start($PostgreSQL::Test::Utils::timeout_default);
	$self->{in} .= "$sql\n;\n\\echo $mark\n\\warn $mark\n";
	$self->{run}->pump_nb;
	return $self;
}

# receive: (output, messages) of what was sent last.
sub receive
{
	my ($self) = @_;
	my $mark = '__' . $self->{number} . '__';
	my @result;

	until ($self->{out} =~ /^$mark\n/m && $self->{err} =~ /^$mark\n/m)
	{
		$self->{run}->pump;
	}
	for my $stream (qw(out err))
	{
		$self->{$stream} =~ s/\A(.*?)^$mark\n//ms or die "cut off: $self->{$stream}";
		push @result, $1;
	}
	chomp @result;
	return wantarray ? @result : $result[0];
}

sub query
{
	my ($self, $sql) = @_;
	return $self->send($sql)->receive;
}

sub quit
{
	my ($self) = @_;
	$self->{in} .= "\\q\n";
	$self->{run}->finish;
	return;
}

# A psql that runs something and ends.
package Chunked::Background;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();

sub new
{
	my ($class, $node, $sql, $database, $connstr) = @_;
	my $self = bless { in => "$sql\n;\n", out => '', err => '' }, $class;

	$connstr //= $node->connstr($database // 'postgres');
	$self->{run} = IPC::Run::start(
		[ 'psql', '-XqAt', '-v', 'VERBOSITY=verbose', '-d', $connstr ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$self->{run}->pump while length $self->{in};
	return $self;
}

# killed: with SIGKILL, so that it cannot take leave of the server.
sub killed
{
	my ($self) = @_;
	$self->{run}->signal('KILL');
	return $self;
}

# ended: (output, messages), when it has, however that was.
sub ended
{
	my ($self) = @_;
	$self->{run}->finish;
	return ($self->{out}, $self->{err});
}

1;
