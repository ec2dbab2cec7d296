# shellcheck shell=bash
#
# lib.sh: what check.sh, sanitize.sh, matrix.sh and demo.sh share. Sourced, never run.
#
# A script that needs a server with the extension in it runs twice. The outer
# run belongs to the caller: it installs what is missing, makes one temporary
# directory with a copy of the checkout, and starts the script again in there,
# as a user whom PostgreSQL lets run a server. It also cleans up, because it
# alone outlives whatever the inner run comes to:
#
#	source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
#	in_sandbox || enter_sandbox "$(basename "$0")" "$@"	# does not come back
#	build_extension
#	start_cluster
#	psql ...
#
# In the inner run $sandbox is that directory, the working directory is the
# copy of the checkout, and PATH, PG_CONFIG and, once the cluster is up, PGHOST,
# PGPORT, PGUSER and PGDATABASE lead to the private server.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Every package that is needed besides the server's, which are chosen below:
# to build and to connect, and, for check.sh, to run the tests.
packages=(gcc libc6-dev make perl python3-psycopg)
# shellcheck disable=SC2034	# by check.sh
test_packages=(libipc-run-perl pgbouncer python3-django python3-psycopg2)

sandbox=${CHUNKED_SANDBOX:-}
createcluster_conf=
policy_file=

say() {
	printf '%s\n' "$*"
}

die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# now: milliseconds, for elapsed. The decimal mark is the locale's.
now() {
	local micros=${EPOCHREALTIME//[.,]/}
	say $((micros / 1000))
}

# elapsed START: the time since START, as "12.3 s".
elapsed() {
	local tenths=$((($(now) - $1) / 100))
	say "$((tenths / 10)).$((tenths % 10)) s"
}

# tally FILE: "PASSED FAILED SKIPPED" from the last line of the form "N passed, N failed[, N skipped]" in FILE, or nothing.
tally() {
	sed -nE 's/^([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?$/\1 \2 \4/p' "$1" | tail -n 1
}

# totals PASSED FAILED SKIPPED: such a line.
totals() {
	printf '%d passed, %d failed' "$1" "$2"
	if [ "$3" -gt 0 ]; then
		printf ', %d skipped' "$3"
	fi
	printf '\n'
}

#
# Packages
#

as_root() {
	if [ "$EUID" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# can_be_root: whether as_root would work. sudo may ask for a password only where someone can answer.
can_be_root() {
	[ "$EUID" -eq 0 ] && return
	command -v sudo >/dev/null || return
	sudo -n true 2>/dev/null && return
	[ -t 0 ] && id -nG | grep -qwE 'sudo|admin|wheel' && sudo -v
}

# apt ARG...: apt-get, silent unless it fails.
apt() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 \
		-o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" >"$sandbox/apt.log" 2>&1 && return
	cat "$sandbox/apt.log" >&2
	return 1
}

is_installed() {
	# One word for each architecture.
	[[ " $(dpkg-query -W -f '${db:Status-Status} ' "$1" 2>/dev/null)" == *" installed "* ]]
}

# install_packages PACKAGE...: those that are missing, and no others, since
# naming an installed one upgrades it, and restarts its servers.
install_packages() {
	local package missing=() start

	for package; do
		is_installed "$package" || missing+=("$package")
	done
	[ "${#missing[@]}" -gt 0 ] || return 0

	if ! can_be_root; then
		printf '%s\n' "Packages are missing. As root, run" "" \
			"    apt-get update && apt-get install --no-install-recommends ${missing[*]}" "" \
			"and then this again." >&2
		exit 1
	fi

	start=$(now)
	say "installing ${missing[*]}"
	# A third party's repository out of reach is no reason to stop: whether
	# the packages can be had, the next command tells.
	apt update || true
	keep_services_down
	if [[ " ${missing[*]} " =~ \ postgresql-[0-9]+\  ]]; then
		keep_main_cluster_away
	fi
	apt install --no-install-recommends "${missing[@]}" || die "cannot install ${missing[*]}"
	if [[ " ${missing[*]} " == *" pgbouncer "* ]] && command -v systemctl >/dev/null; then
		as_root systemctl -q disable pgbouncer >/dev/null 2>&1 || true
	fi
	restore_configuration
	say "installed in $(elapsed "$start")"
}

# keep_services_down: what is installed for a test is no reason to start a
# server on the machine. Debian asks this file.
keep_services_down() {
	local file=/usr/sbin/policy-rc.d

	[ ! -e "$file" ] || return 0
	policy_file=$file
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$file" >/dev/null
	as_root chmod +x "$file"
}

# keep_main_cluster_away: Debian's server package makes a cluster unless told
# otherwise in a file of postgresql-common's, which must be there first.
keep_main_cluster_away() {
	local conf=/etc/postgresql-common/createcluster.conf

	apt install --no-install-recommends postgresql-common || die "cannot install postgresql-common"
	[ -f "$conf" ] || return 0
	as_root cp -p "$conf" "$sandbox/createcluster.conf"
	createcluster_conf=$conf
	say "create_main_cluster = false" | as_root tee -a "$conf" >/dev/null
}

restore_configuration() {
	if [ -n "$createcluster_conf" ]; then
		as_root cp -p "$sandbox/createcluster.conf" "$createcluster_conf"
		createcluster_conf=
	fi
	if [ -n "$policy_file" ]; then
		as_root rm -f "$policy_file"
		policy_file=
	fi
}

#
# The server to test against
#

# default_major: the major that the distribution's metapackage stands for; nothing without package lists.
default_major() {
	{ apt-cache depends postgresql 2>/dev/null || true; } | sed -nE 's/^ *Depends: postgresql-([0-9]+)$/\1/p' | head -n 1
}

# find_server: sets server_config, the pg_config of the server to use: $PG_CONFIG,
# else the newest installed, else the distribution's default, which it installs.
find_server() {
	local config=${PG_CONFIG:-} debian='^/usr/lib/postgresql/([0-9]+)/bin/pg_config$' major=

	if [ -z "$config" ]; then
		# Asked for the server's binary: clients alone bring a pg_config, too.
		config=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
		config=${config%/postgres}/pg_config
	elif [ -x "$(command -v "$config")" ]; then
		# Debian's /usr/bin/pg_config is a wrapper: find what it leads to.
		config=$("$config" --bindir)/pg_config
	fi

	if [[ $config =~ $debian ]]; then
		major=${BASH_REMATCH[1]}
	elif [ -z "${PG_CONFIG:-}" ]; then
		major=$(default_major)
		if [ -z "$major" ] && can_be_root; then
			apt update || true
			major=$(default_major)
		fi
		# Without package lists there is no telling: the metapackages then serve
		# in the line that install_packages prints.
		[ -n "$major" ] || install_packages "${packages[@]}" postgresql postgresql-server-dev-all
		config=/usr/lib/postgresql/$major/bin/pg_config
	fi

	if [ -n "$major" ]; then
		install_packages "${packages[@]}" "postgresql-$major" "postgresql-server-dev-$major"
	else
		install_packages "${packages[@]}"
	fi
	[ -x "$config" ] || die "no pg_config at $config"
	# Another python may come first in PATH; Debian's is the one that the package is for.
	/usr/bin/python3 -c 'import sys, psycopg; sys.exit(psycopg.__version__ < "3")' ||
		die "/usr/bin/python3 has no psycopg 3"
	server_config=$config
}

#
# The outer run
#

in_sandbox() {
	[ -n "${CHUNKED_SANDBOX:-}" ]
}

# copy_checkout DIR: what is tracked, or new and not ignored; of a tree without git, all but build products.
copy_checkout() {
	mkdir -p "$1"
	if [ -e "$root/.git" ] && command -v git >/dev/null; then
		# The checkout may belong to another user than the one who tests it.
		# A tracked file may be deleted, and the deletion not committed yet.
		# shellcheck disable=SC2016	# for the inner shell
		git -c safe.directory="$root" -C "$root" ls-files -z --cached --others --exclude-standard |
			(cd "$root" && xargs -0 sh -c 'for name; do [ -e "$name" ] && printf "%s\0" "$name"; done; true' sh) |
			tar -C "$root" -c --null --no-recursion -T - -f -
	else
		tar -C "$root" -c --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' -f - .
	fi | tar -C "$1" -x --no-same-owner -f -
	[ -f "$1/Makefile" ] || die "cannot copy the checkout in $root"
}

# sandbox_processes DIR: the ids of processes whose program or working directory
# lies in DIR. A server's do both; it leaves its starter's process group, so that
# no kill of a group would reach it.
sandbox_processes() {
	find /proc/[0-9]*/exe /proc/[0-9]*/cwd -maxdepth 0 -lname "$1/*" -printf '%h\n' 2>/dev/null |
		sed 's,^/proc/,,' | sort -u
}

# stop_processes DIR: ends them all. First those that are no server, lest they
# start another one; then the servers by an immediate shutdown, in which they
# remove their shared memory; and after ten seconds whatever is left.
stop_processes() {
	local try pid others servers

	for try in {1..150}; do
		others=() servers=()
		for pid in $(sandbox_processes "$1"); do
			case $(readlink "/proc/$pid/exe") in
				*/bin/postgres*) servers+=("$pid") ;;
				*) others+=("$pid") ;;
			esac
		done
		if [ "${#others[@]}" -gt 0 ]; then
			kill -KILL "${others[@]}" 2>/dev/null
		elif [ "${#servers[@]}" -eq 0 ]; then
			return 0
		elif [ "$try" -gt 100 ]; then
			kill -KILL "${servers[@]}" 2>/dev/null
		else
			kill -QUIT "${servers[@]}" 2>/dev/null
		fi
		sleep 0.1
	done
	return 1
}

# clean_up: the outer run's exit trap.
clean_up() {
	trap '' INT TERM HUP
	# Spares the caller bash's word on how the inner run ended.
	disown -a
	cd /
	if [ -n "${as_user+set}" ]; then
		# As the user who owns them: root without ptrace rights, as in a
		# container, may not look at another user's processes.
		"${as_user[@]}" bash -c "$(declare -f sandbox_processes stop_processes); stop_processes '$sandbox'" ||
			say "could not stop every process of $sandbox" >&2
	fi
	restore_configuration
	rm -rf "$sandbox"
}

# enter_sandbox SCRIPT ARG...: the outer run. SCRIPT is a file in test/. Exits with its status.
# If there is a function before_sandbox, it is called when the sandbox and the packages are there; it may choose another server_config.
enter_sandbox() {
	local script=$1 status=0 user name environment=()
	shift

	sandbox=$(realpath "$(mktemp -d "${TMPDIR:-/tmp}/pg_chunked.XXXXXX")")
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM

	find_server
	copy_checkout "$sandbox/src"
	mkdir "$sandbox/home" "$sandbox/log" "$sandbox/socket" "$sandbox/tmp"

	# PostgreSQL does not run as root.
	as_user=(env)
	if [ "$EUID" -eq 0 ]; then
		user=postgres
		id -u "$user" >/dev/null 2>&1 || user=nobody
		as_user=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups)
		chown -R "$user:" "$sandbox"
		"${as_user[@]}" test -w "$sandbox/tmp" ||
			die "user $user cannot reach $sandbox: set TMPDIR to a directory that everyone can"
	fi
	if declare -F before_sandbox >/dev/null; then
		before_sandbox
	fi

	# The same surroundings on every machine, and none of the caller's PG variables.
	for name in TERM COLUMNS LINES NO_COLOR CI ${!CHUNKED_@}; do
		[ -z "${!name+set}" ] || environment+=("$name=${!name}")
	done
	environment+=(
		CHUNKED_SANDBOX="$sandbox"
		CHUNKED_SERVER="$server_config"
		HOME="$sandbox/home"
		TMPDIR="$sandbox/tmp"
		LC_ALL=C.UTF-8
		PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin
	)

	# A job in a process group of its own, so that a signal ends the wait at
	# once and reaches the inner run by clean_up alone, in its order.
	cd "$sandbox/src" || exit
	set -m
	"${as_user[@]}" env -i "${environment[@]}" bash "test/$script" "$@" </dev/null &
	set +m
	wait "$!" || status=$?
	exit "$status"
}

#
# The inner run
#

# copy_server: the server's programs and files in the sandbox, under the same
# path. PostgreSQL looks for its files from where its program is, so that the
# extension installs into the copy, and without any rights on the system.
copy_server() {
	local name dir

	for name in bindir pkglibdir sharedir; do
		dir=$("$CHUNKED_SERVER" "--$name")
		mkdir -p "$sandbox$dir" && cp -a "$dir/." "$sandbox$dir" || return
	done
	# These are only read.
	for name in includedir libdir; do
		dir=$("$CHUNKED_SERVER" "--$name")
		mkdir -p "$sandbox$(dirname "$dir")"
		[ -e "$sandbox$dir" ] || ln -s "$dir" "$sandbox$dir"
	done

	export PG_CONFIG
	PG_CONFIG=$sandbox$("$CHUNKED_SERVER" --bindir)/pg_config
	for name in pkglibdir sharedir includedir-server; do
		[ "$("$PG_CONFIG" "--$name")" = "$sandbox$("$CHUNKED_SERVER" "--$name")" ] ||
			die "the server in $CHUNKED_SERVER cannot be moved: its copy has --$name $("$PG_CONFIG" "--$name")"
	done
	PATH=$("$PG_CONFIG" --bindir):$PATH
}

# build_extension: builds strictly and installs into a private server. The
# server's headers are not ours to mend: -isystem keeps their warnings out.
build_extension() {
	copy_server &&
		make -s -j"$(nproc)" PG_CFLAGS="-Wall -Wextra -Werror -isystem $("$PG_CONFIG" --includedir-server)" &&
		make -s install
}

# start_cluster [SETTING...]: a cluster that only this sandbox can reach, with
# further lines for its postgresql.conf.
start_cluster() {
	export PGHOST=$sandbox/socket PGPORT=5432 PGUSER=postgres PGDATABASE=postgres

	initdb -D "$sandbox/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$sandbox/log/initdb.log" 2>&1 || {
		cat "$sandbox/log/initdb.log"
		return 1
	}
	printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$PGHOST'" \
		"fsync = off" "$@" >>"$sandbox/data/postgresql.conf"
	pg_ctl -D "$sandbox/data" -l "$sandbox/log/server.log" -s -w start || {
		cat "$sandbox/log/server.log"
		return 1
	}
}
