#!/bin/bash
#
# check.sh: builds the extension and runs every test, on a private copy of the
# machine's PostgreSQL, and leaves nothing behind but packages.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$(dirname "${BASH_SOURCE[0]}")/clients/stacks.sh"

usage() {
	cat <<'HELP'
usage: bash test/check.sh [--only PART]...

Builds the extension with warnings as errors and runs its tests in a temporary
directory. PARTs are structure, regress, isolation, tap, property,
clients and docs; all by default.

Installs missing packages with apt, as root or by sudo; otherwise says which.
Set PG_CONFIG to choose the server; the default is the newest installed one,
or else the distribution's. Set TMPDIR to work elsewhere than in /tmp, CHUNKED_PROPERTY_TABLES to have the
property test go through another number of tables than 200.

The last line is "N passed, N failed". The exit status is 0 if none failed and
at least one passed.
HELP
}

parts=()
arguments=("$@")
while [ $# -gt 0 ]; do
	case $1 in
		--only)
			[[ ${2:-} =~ ^(structure|regress|isolation|tap|property|clients|docs)$ ]] || die "--only takes structure, regress, isolation, tap, property, clients or docs"
			parts+=("$2")
			shift 2
			;;
		-h | --help)
			usage
			exit
			;;
		*) die "unknown argument $1: see --help" ;;
	esac
done

# The recipes' stacks, of which only the quick ones are gone through here.
before_sandbox() {
	if wanted clients; then
		install_stacks --quick
	fi
}

wanted() {
	[ "${#parts[@]}" -eq 0 ] || [[ " ${parts[*]} " == *" $1 "* ]]
}

packages+=("${test_packages[@]}")
in_sandbox || enter_sandbox check.sh ${arguments[@]+"${arguments[@]}"}

passed=0
failed=0
skipped=0
summary=()

# heading NAME: starts a step.
heading() {
	step=$1
	step_start=$(now)
	log=$sandbox/log/${step// /_}.log
	printf '\n== %s\n' "$step"
}

# logged COMMAND...: shows what it prints and keeps it in $log.
logged() {
	"$@" 2>&1 | tee "$log"
}

# count STATUS PASSED FAILED [SKIPPED]: ends a step. A step that fails without
# a failed test, or ends well without any test, counts as one failure.
count() {
	local pass=$2 fail=$3 skip=${4:-0}

	if [ "$fail" -eq 0 ] && [ $(($1 != 0 || pass + skip == 0)) -eq 1 ]; then
		fail=1
	fi
	passed=$((passed + pass))
	failed=$((failed + fail))
	skipped=$((skipped + skip))
	summary+=("$(printf '%-10s %5d passed %5d failed %5d skipped %10s' "$step" "$pass" "$fail" "$skip" "$(elapsed "$step_start")")")
	say "$step took $(elapsed "$step_start"): $(totals "$pass" "$fail" "$skip")"
}

# show FILE...: those that exist; of a very long one, as a server's log can be, both ends.
show() {
	local file end=200000

	for file; do
		[ -f "$file" ] || continue
		say "-- ${file#"$sandbox"/}"
		if [ "$(stat -c %s "$file")" -le $((2 * end)) ]; then
			cat "$file"
		else
			head -c "$end" "$file"
			printf '\n\n-- (%d bytes left out)\n\n' $(($(stat -c %s "$file") - 2 * end))
			tail -c "$end" "$file"
		fi
	done
}

have() {
	compgen -G "$1" >/dev/null
}

# fresh_database NAME: with the extension in it, for what does not make its own.
fresh_database() {
	psql -X -q -v ON_ERROR_STOP=1 -c "CREATE DATABASE $1" && psql -X -q -v ON_ERROR_STOP=1 -d "$1" -c 'CREATE EXTENSION pg_chunked'
}

# pg_regress printed "test NAME ... ok" before PostgreSQL 16, and TAP since.
regress_count() {
	grep -cE "$1" "$log" || true
}

# The rules of src/README.md.
structure_tests() {
	local status=0 numbers

	logged /usr/bin/python3 test/structure || status=$?
	numbers=$(tally "$log")
	# shellcheck disable=SC2086	# numbers
	count "$status" ${numbers:-0 0}
}

# regress_tests DIR VARIABLE: one of installcheck's two suites. VARIABLE=, in make, turns the other off.
regress_tests() {
	local status=0 pass fail

	logged make -s installcheck "$2=" || status=$?
	pass=$(regress_count '^(ok +[0-9]|(test| )  *[^ ]+ +\.\.\. ok)')
	fail=$(regress_count '^(not ok +[0-9]|(test| )  *[^ ]+ +\.\.\. FAILED)')
	show "$1/regression.diffs"
	count "$status" "$pass" "$fail"
}

# Two at a time, since they wait for most of theirs. Assertions are counted, which only
# prove's verbose output tells, and those that passed are not shown.
tap_tests() {
	local status=0 pass fail skip name

	logged make -s prove_installcheck PROVE_FLAGS='--verbose --timer --jobs 2' | sed -uE '/^ *(ok [0-9]|1\.\.[0-9]|# Subtest)/d' || status=$?
	pass=$(grep -E '^ok [0-9]' "$log" | grep -cviE '# *skip' || true)
	fail=$(grep -E '^not ok [0-9]' "$log" | grep -cviE '# *todo' || true)
	skip=$(grep -ciE '^(ok [0-9].*|1\.\.0) # *skip' "$log" || true)
	sed -nE 's,^test/t/([^ ]+)\.pl +\(Wstat.*,\1,p' "$log" | while IFS= read -r name; do
		show "tmp_check/log/regress_log_$name" tmp_check/log/"$name"_*.log
	done
	count "$status" "$pass" "$fail" "$skip"
}

# They need little but a processor, so they go on in the background while TAP waits for its servers.
start_property_tests() {
	fresh_database property || return 0
	PGDATABASE=property nice -n 5 /usr/bin/python3 test/property/walks.py --tables "${CHUNKED_PROPERTY_TABLES:-200}" \
		>"$sandbox/log/property_tests" 2>&1 &
	property=$!
}

property_tests() {
	local status=0 numbers

	wait "${property:-0}" || status=$?
	logged cat "$sandbox/log/property_tests"
	numbers=$(tally "$log")
	# shellcheck disable=SC2086	# numbers
	count "$status" ${numbers:-0 0}
}

# A client that cannot run here, for want of a language or a library, says so by status 77.
client_tests() {
	local run numbers number=0 status pass=0 fail=0 skip=0

	for run in test/clients/*/run; do
		[ -x "$run" ] || continue
		say "-- $run"
		number=$((number + 1))
		status=0
		fresh_database "client_$number" || status=$?
		PGDATABASE=client_$number logged "./$run" || status=$?
		case $status in
			0) pass=$((pass + 1)) ;;
			77) skip=$((skip + 1)) ;;
			*)
				fail=$((fail + 1))
				say "-- $run failed with status $status"
				;;
		esac
	done
	say "-- test/clients/stacks.py check --quick"
	status=0
	logged /usr/bin/python3 test/clients/stacks.py check --quick || status=$?
	numbers=$(tally "$log")
	# shellcheck disable=SC2086	# numbers
	set -- ${numbers:-0 1}
	count "$status" $((pass + $1)) $((fail + $2)) $((skip + ${3:-0}))
}

# Each program compares the documents with something else; none of them ends at its first failure.
docs_tests() {
	local program numbers status=0 pass=0 fail=0

	for program in test/docs/{links,reference,messages,recipes,examples}; do
		say "-- $program"
		logged "./$program" || status=$?
		numbers=$(tally "$log")
		# shellcheck disable=SC2086	# numbers
		set -- ${numbers:-0 1}
		pass=$((pass + $1))
		fail=$((fail + $2))
	done
	count "$status" "$pass" "$fail"
}

# server_log: a crash fails the check even where a test was content with it.
server_log() {
	local found='PANIC:|TRAP:|terminated by signal|resource was not closed|refcount leak|leak: '

	if ! grep -qE "$found" "$sandbox/log/server.log"; then
		return
	fi
	heading 'server log'
	grep -E -C 10 "$found" "$sandbox/log/server.log" || true
	count 1 0 1
}

# finish: the exit trap, so that the numbers come whatever ends the run.
finish() {
	local status=$?

	if [ "$failed" -eq 0 ] && [ $((status != 0 || passed == 0)) -eq 1 ]; then
		failed=1
	fi
	printf '\n'
	[ "${#summary[@]}" -eq 0 ] || printf '%s\n' "${summary[@]}" ''
	totals "$passed" "$failed" "$skipped"
	[ "$failed" -eq 0 ] || exit 1
}

trap finish EXIT
"$CHUNKED_SERVER" --version

heading build
build_extension
say "built in $(elapsed "$step_start")"
# shellcheck disable=SC2119	# no settings
start_cluster

if wanted structure; then
	heading structure
	structure_tests
fi
if wanted regress && have 'sql/*.sql'; then
	heading regress
	regress_tests . ISOLATION
fi
if wanted isolation && have 'test/isolation/specs/*.spec'; then
	heading isolation
	regress_tests output_iso REGRESS
fi
if wanted property; then
	start_property_tests
fi
if wanted tap && have 'test/t/*.pl'; then
	heading tap
	tap_tests
fi
if wanted property; then
	heading property
	property_tests
fi
if wanted clients && have 'test/clients/*/run'; then
	heading clients
	client_tests
fi
if wanted docs && have 'test/docs/*'; then
	heading docs
	docs_tests
fi
server_log
