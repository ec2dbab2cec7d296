#!/bin/bash
#
# demo.sh: shows what pg_chunked does, beside what it replaces: a table walked,
# split, and changed by a job that a crash does not stop.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
	cat <<'HELP'
usage: bash test/demo.sh [--rows N]

Builds the extension, starts a private server in a temporary directory, makes a
table of N events (500000 by default, at least 10000), and reads it with Django
by all(), chunked.page(), iterator() and OFFSET. Then splits it, and runs a
backfill over it whose server process is killed in the middle. Fails if any row
is missing or comes twice. Nothing is left behind but packages.

Installs missing packages with apt, as root or by sudo; otherwise says which.
Goes on without Django, by psycopg alone, if that cannot be had.
HELP
}

rows=500000
arguments=("$@")
while [ $# -gt 0 ]; do
	case $1 in
		--rows)
			[[ ${2:-} =~ ^[1-9][0-9]{4,}$ ]] || die "--rows takes a number from 10000 on"
			rows=$2
			shift 2
			;;
		-h | --help)
			usage
			exit
			;;
		*) die "unknown argument $1: see --help" ;;
	esac
done

# before_sandbox: Django is worth a download, but its absence is no reason to stop.
before_sandbox() {
	(
		trap restore_configuration EXIT
		install_packages python3-django python3-psycopg2
	) || say "Going on without Django."
}

in_sandbox || enter_sandbox demo.sh ${arguments[@]+"${arguments[@]}"}

# What goes to descriptor 3 names the next thing that starting.py shows the progress of.
exec 3> >(exec /usr/bin/python3 test/demo/starting.py)
starting=$!
stop_showing() {
	exec 3>&-
	wait "$starting"
}

say "building pg_chunked" >&3
# Bitcode would double the time, and inlines calls that nothing here makes.
export MAKEFLAGS=with_llvm=no
build_extension >"$sandbox/log/build.log" 2>&1 3>&- || {
	stop_showing
	cat "$sandbox/log/build.log"
	exit 1
}
say "starting a private server" >&3
start_cluster "shared_buffers = '512MB'" "max_wal_size = '8GB'" "wal_level = minimal" "max_wal_senders = 0" 3>&-
stop_showing

psql -X -q -c 'CREATE EXTENSION pg_chunked'
/usr/bin/python3 test/demo/demo.py "$rows"
