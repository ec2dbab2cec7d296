#!/bin/bash
#
# run.sh: goes through the recipes of docs/clients.md in every stack, and measures their walks, on a private copy of the
# machine's PostgreSQL. It leaves nothing behind but packages.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$(dirname "${BASH_SOURCE[0]}")/stacks.sh"

usage() {
	cat <<'HELP'
usage: bash test/clients/run.sh [--rows N] [--rounds N] [STACK]...

Goes through every recipe of docs/clients.md. Then each stack walks a table of N
rows (1000000) in three ways, N times each (5), and one table is printed: the
walk by page(), the stack's own best way to stream, and everything at once.
STACKs are the directories of test/clients that stacks.py knows; all by default.

Installs missing packages with apt, as root or by sudo; where Node.js is not Debian's,
pg by npm into the temporary directory. --rows 0 measures nothing. The last line is "N passed, N failed".
HELP
}

rows=1000000
rounds=5
stacks=()
arguments=("$@")
while [ $# -gt 0 ]; do
	case $1 in
		--rows | --rounds)
			[[ ${2:-} =~ ^[0-9]+$ ]] || die "$1 takes a number"
			printf -v "${1#--}" %s "$2"
			shift 2
			;;
		-h | --help)
			usage
			exit
			;;
		-*) die "unknown argument $1: see --help" ;;
		*)
			stacks+=("$1")
			shift
			;;
	esac
done

before_sandbox() {
	install_stacks ${stacks[@]+"${stacks[@]}"}
}

in_sandbox || enter_sandbox clients/run.sh ${arguments[@]+"${arguments[@]}"}

build_extension
# JDBC knows no Unix sockets.
port=$(/usr/bin/python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
start_cluster "listen_addresses = '127.0.0.1'" "port = $port"
export PGPORT=$port

status=0
/usr/bin/python3 test/clients/stacks.py check ${stacks[@]+"${stacks[@]}"} | tee "$sandbox/log/check" || status=$?
if [ "$rows" -gt 0 ]; then
	say ''
	/usr/bin/python3 test/clients/stacks.py bench --rows "$rows" --rounds "$rounds" ${stacks[@]+"${stacks[@]}"} || status=$?
fi
say ''
read -r passed failed skipped <<<"$(tally "$sandbox/log/check")"
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
	failed=1
fi
totals "$passed" "$failed" "${skipped:-0}"
exit "$status"
