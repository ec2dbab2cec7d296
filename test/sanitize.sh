#!/bin/bash
#
# sanitize.sh: the tests again under AddressSanitizer and UBSan, then hostile
# calls: what a wrong byte may not show otherwise. Leaves nothing behind but packages.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
	cat <<'HELP'
usage: bash test/sanitize.sh [--only PART]... [--seconds N | --calls N] [--seed N]
                             [--assert [--keep DIR]] [--short]

Builds the extension with AddressSanitizer and UndefinedBehaviorSanitizer and runs
its regression and isolation tests, and hostile calls: every function with arguments
that nobody means well by, while another session changes the tables. PARTs are
regress, isolation and hostile; all by default.

--seconds N  hostile calls for so long; default 180
--calls N    or so many of them in each session
--seed N     of the hostile calls; default another one each time, which is printed
--assert     on a server with assertions, built from its source package, 10 minutes
             on two processors; skipped where the package cannot be had
--keep DIR   leaves that server there, and takes it from there the next time
--short      what CI runs, in some three minutes: hostile calls for 60 seconds, and
             of the regression tests those without large tables

Installs missing packages with apt, as root or by sudo; otherwise says which.
PG_CONFIG and TMPDIR are as for check.sh.

A sanitizer's report, a crash and an internal error are failures. The last line is
"N passed, N failed". The exit status is 0 if none failed and at least one passed.
HELP
}

# These take longest under the sanitizers, for the size of their tables.
large='predicate|split|range|count|job_plan'

parts=()
hostile=()
seconds=
seed=()
assertions=
keep=
short=
arguments=("$@")
while [ $# -gt 0 ]; do
	case $1 in
		--only)
			[[ ${2:-} =~ ^(regress|isolation|hostile)$ ]] || die "--only takes regress, isolation or hostile"
			parts+=("$2")
			shift 2
			;;
		--seconds | --calls | --seed)
			[[ ${2:-} =~ ^[0-9]+$ ]] || die "$1 takes a number"
			case $1 in
				--seconds) seconds=$2 ;;
				--calls) hostile=(--calls "$2") ;;
				--seed) seed=(--seed "$2") ;;
			esac
			shift 2
			;;
		--assert)
			assertions=yes
			shift
			;;
		--keep)
			[ -n "${2:-}" ] || die "--keep takes a directory"
			keep=$2
			shift 2
			;;
		--short)
			short=yes
			shift
			;;
		-h | --help)
			usage
			exit
			;;
		*) die "unknown argument $1: see --help" ;;
	esac
done
[ -z "$keep" ] || [ -n "$assertions" ] || die "--keep goes with --assert"
if [ "${#hostile[@]}" -eq 0 ]; then
	if [ -n "$short" ]; then
		hostile=(--seconds "${seconds:-60}")
	else
		hostile=(--seconds "${seconds:-180}")
	fi
fi

#
# The server with assertions: made in the outer run, which may install packages.
#

# source_list: the machine's own list of packages, asking for their sources, in $sandbox/apt.
source_list() {
	local file

	mkdir -p "$sandbox"/apt/{parts,lists/partial,cache/archives/partial}
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
		[ -f "$file" ] || continue
		case $file in
			*.list) sed -nE 's/^deb([[:blank:]])/deb-src\1/p' "$file" ;;
			*.sources) sed -E 's/^Types:.*/Types: deb-src/' "$file" >"$sandbox/apt/parts/${file##*/}" ;;
		esac
	done >"$sandbox/apt/sources.list"
}

# source_apt COMMAND ARG...: one of apt's, by that list, as anyone: nothing of the system's is touched.
source_apt() {
	"$1" -o Dir::Etc::SourceList="$sandbox/apt/sources.list" -o Dir::Etc::SourceParts="$sandbox/apt/parts" \
		-o Dir::State::Lists="$sandbox/apt/lists" -o Dir::Cache="$sandbox/apt/cache" -o Debug::NoLocking=1 \
		-o APT::Sandbox::User= -o Acquire::Retries=2 "${@:2}"
}

# download_source MAJOR: the newest source that can be had, in $sandbox/assert.tar.
download_source() {
	local package=postgresql-$1 version

	source_list
	source_apt apt-get -qq update >/dev/null 2>&1 || true
	# A mirror may list a version that it does not have.
	for version in $(source_apt apt-cache showsrc "$package" 2>/dev/null | sed -n 's/^Version: //p' | sort -Vru); do
		if (cd "$sandbox/apt" && source_apt apt-get -qq source --download-only "$package=$version" >/dev/null 2>&1); then
			mv "$sandbox/apt"/*.orig.tar.* "$sandbox/assert.tar"
			return
		fi
	done
	return 1
}

# build_server DIR: from $sandbox/assert.tar into DIR. Programs find the system's libpq, of the same major, wherever DIR goes.
build_server() {
	local contrib

	mkdir "$sandbox/assert" && tar -C "$sandbox/assert" --strip-components=1 --no-same-owner -xf "$sandbox/assert.tar" && cd "$sandbox/assert" &&
		./configure --quiet --prefix=/pgsql --enable-cassert --enable-debug --disable-rpath --without-readline --with-icu CFLAGS='-O1 -g' &&
		make -s -j"$(nproc)" && make -s install DESTDIR="$1" || return
	# Those that the tests use, where they can.
	for contrib in citext file_fdw pageinspect pg_prewarm pgstattuple postgres_fdw; do
		make -s -C "contrib/$contrib" install DESTDIR="$1" || return
	done
}

# before_sandbox: called by enter_sandbox. Has the tests run on a server with assertions.
before_sandbox() {
	local major kept start server=$sandbox/server

	major=$("$server_config" --version | sed -nE 's/^PostgreSQL ([0-9]+).*/\1/p')
	kept=${keep:+$keep/postgresql-$major-assert}
	if [ -n "$kept" ] && [ -x "$kept/pgsql/bin/pg_config" ]; then
		server_config=$(realpath "$kept")/pgsql/bin/pg_config
		return
	fi
	start=$(now)
	if ! download_source "$major"; then
		export CHUNKED_NO_SOURCE="the source package postgresql-$major cannot be had here"
		return
	fi
	install_packages bison bzip2 flex libicu-dev zlib1g-dev
	say "building a server with assertions"
	(build_server "$server") >"$sandbox/build.log" 2>&1 || {
		tail -n 30 "$sandbox/build.log"
		die "cannot build the server"
	}
	if [ -n "$kept" ]; then
		mkdir -p "$keep"
		rm -rf "$kept.new" "$kept"
		cp -a "$server" "$kept.new"
		mv "$kept.new" "$kept"
	fi
	server_config=$server/pgsql/bin/pg_config
	say "built in $(elapsed "$start")"
}

[ -n "$assertions" ] || unset -f before_sandbox
# shellcheck disable=SC2119	# none
in_sandbox || enter_sandbox sanitize.sh ${arguments[@]+"${arguments[@]}"}

#
# The inner run
#

if [ -n "${CHUNKED_NO_SOURCE:-}" ]; then
	say "skipped: $CHUNKED_NO_SOURCE"
	totals 0 0 1
	exit
fi

passed=0
failed=0
summary=()

heading() {
	step=$1
	step_start=$(now)
	log=$sandbox/log/$step.log
	printf '\n== %s\n' "$step"
}

# count STATUS PASSED FAILED: ends a step. Reports of the sanitizers, and what the server's log
# tells of a crash, are failures of the step in which they came.
count() {
	local pass=$2 fail=$3 found

	found=$(show_reports)
	if [ -n "$found" ]; then
		say "$found"
		fail=$((fail + 1))
	fi
	if [ "$fail" -eq 0 ] && [ $(($1 != 0 || pass == 0)) -eq 1 ]; then
		fail=1
	fi
	passed=$((passed + pass))
	failed=$((failed + fail))
	summary+=("$(printf '%-10s %5d passed %5d failed %10s' "$step" "$pass" "$fail" "$(elapsed "$step_start")")")
	say "$step took $(elapsed "$step_start"): $(totals "$pass" "$fail" 0)"
}

# show_reports: what the server's log has of them since the last call. Sanitizers write there, as to any
# standard error. Of reports that are alike the first alone, and of each its first lines.
show_reports() {
	local size

	[ -f "$sandbox/log/server.log" ] || return 0
	size=$(stat -c %s "$sandbox/log/server.log")
	tail -c +$(($(cat "$sandbox/log/seen" 2>/dev/null || say 0) + 1)) "$sandbox/log/server.log" >"$sandbox/log/new"
	say "$size" >"$sandbox/log/seen"
	awk '
		/runtime error: |ERROR: AddressSanitizer/ {
			kind = $0
			gsub(/0x[0-9a-f]+|[0-9][0-9][0-9][0-9]+/, "", kind)
			left = seen[kind]++ ? 0 : 30
			if (left)
				print "-- a report of a sanitizer:"
		}
		left-- > 0
		/^$/ { left = 0 }' "$sandbox/log/new" | head -n 300
	grep -aE -C 5 'PANIC:|TRAP:|terminated by signal|resource was not closed|refcount leak|leak: |problem in alloc set|detected write past' \
		"$sandbox/log/new" | head -n 60 || true
}

wanted() {
	[ "${#parts[@]}" -eq 0 ] || [[ " ${parts[*]} " == *" $1 "* ]]
}

# build_sanitized: what make and make install do, with the checkers. No bitcode, which would leave them out.
build_sanitized() {
	local checks=address,undefined,float-cast-overflow

	copy_server &&
		make -s -j"$(nproc)" with_llvm=no SHLIB_LINK="-fsanitize=$checks" \
			PG_CFLAGS="-fsanitize=$checks -fno-omit-frame-pointer -fno-sanitize-recover=address -O1 -g -U_FORTIFY_SOURCE -isystem $("$PG_CONFIG" --includedir-server)" &&
		make -s install with_llvm=no
}

# build_first: a library that has ASan start before any other library's constructor. Some of the server's call
# bindtextdomain(), which allocates under a lock; a sanitizer that starts in there looks up symbols, whose messages
# take the same lock, and glibc then waits for itself. UBSan starts at its first report, when the server's
# environment has become its title: it takes its options from here.
build_first() {
	cat >"$sandbox/tmp/first.c" <<-'C' && gcc -shared -fPIC -Wl,-z,initfirst -o "$sandbox/first.so" "$sandbox/tmp/first.c"
		#include <stdlib.h>

		static void *volatile allocated;

		__attribute__((constructor)) static void
		first(void)
		{
			allocated = malloc(1);
		}

		const char *
		__ubsan_default_options(void)
		{
			return "print_stacktrace=1";
		}
	C
}

# sanitized COMMAND...: with the sanitizer's library first in every process, as it must be where the program itself is built
# without. Leaks are the server's way: what it allocates goes with its contexts, or with the process.
sanitized() {
	LD_PRELOAD="$(gcc -print-file-name=libasan.so) $sandbox/first.so" \
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:disable_coredump=1:use_sigaltstack=0:handle_segv=1:detect_stack_use_after_return=1 \
		"$@"
}

# regress_tests VARIABLE [MAKE-ARGUMENT...]: one of installcheck's two suites. VARIABLE=, in make, turns the other off.
regress_tests() {
	local status=0 pass fail

	make -s installcheck "$@" 2>&1 | tee "$log" || status=$?
	# pg_regress printed "test NAME ... ok" before PostgreSQL 16, and TAP since.
	pass=$(grep -cE '^(ok +[0-9]|(test| )  *[^ ]+ +\.\.\. ok)' "$log" || true)
	fail=$(grep -cE '^(not ok +[0-9]|(test| )  *[^ ]+ +\.\.\. FAILED)' "$log" || true)
	if [ "$status" -ne 0 ]; then
		cat regression.diffs output_iso/regression.diffs 2>/dev/null | head -n 300 || true
	fi
	rm -f regression.diffs
	count "$status" "$pass" "$fail"
}

hostile_calls() {
	local status=0 numbers

	psql -X -q -v ON_ERROR_STOP=1 -c 'CREATE DATABASE hostile'
	PGDATABASE=hostile /usr/bin/python3 test/hostile/hostile.py --log "$sandbox/log/server.log" "${hostile[@]}" ${seed[@]+"${seed[@]}"} 2>&1 | tee "$log" || status=$?
	numbers=$(tally "$log")
	# shellcheck disable=SC2086	# numbers
	count "$status" ${numbers:-0 0}
}

# finish: the exit trap, so that the numbers come whatever ends the run.
finish() {
	local status=$?

	if [ "$failed" -eq 0 ] && [ $((status != 0 || passed == 0)) -eq 1 ]; then
		failed=1
	fi
	printf '\n'
	[ "${#summary[@]}" -eq 0 ] || printf '%s\n' "${summary[@]}" ''
	totals "$passed" "$failed" 0
	[ "$failed" -eq 0 ] || exit 1
}

trap finish EXIT
"$CHUNKED_SERVER" --version

heading build
build_sanitized
build_first
say "built in $(elapsed "$step_start")"
sanitized start_cluster "max_worker_processes = 16"

if wanted regress; then
	heading regress
	tests=()
	if [ -n "$short" ]; then
		tests=(REGRESS="$(basename -s .sql -a sql/*.sql | grep -vxE "$large" | tr '\n' ' ')")
	fi
	regress_tests ISOLATION= ${tests[@]+"${tests[@]}"}
fi
if wanted isolation; then
	heading isolation
	regress_tests REGRESS=
fi
if wanted hostile; then
	heading hostile
	hostile_calls
fi
