#!/bin/bash
#
# demo.sh: shows what pg_chunked does: walks two tables, one of them text in a
# natural language's order, and beside it reads them in the usual ways.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
	cat <<'HELP'
usage: bash test/demo.sh [--rows N]

Builds the extension, starts a private server in a temporary directory, loads a
table of N events (1000000 by default) and one of every path in this machine's
package lists, and walks both. Nothing is left behind but packages.

Installs missing packages with apt, as root or by sudo; otherwise says which.
HELP
}

rows=1000000
arguments=("$@")
while [ $# -gt 0 ]; do
	case $1 in
		--rows)
			[[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die "--rows takes a number"
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

in_sandbox || enter_sandbox demo.sh ${arguments[@]+"${arguments[@]}"}

say "building pg_chunked and starting a private server"
build_extension >"$sandbox/log/build.log" 2>&1 || {
	cat "$sandbox/log/build.log"
	exit 1
}
start_cluster "shared_buffers = '512MB'" "max_wal_size = '8GB'" "wal_level = minimal" "max_wal_senders = 0"
psql -X -q -c 'CREATE EXTENSION pg_chunked'

/usr/bin/python3 test/demo/demo.py "$rows"
