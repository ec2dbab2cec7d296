#!/bin/bash
#
# matrix.sh: runs check.sh on other majors of PostgreSQL, each in a Debian of
# its own that starts out bare.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
	cat <<'HELP'
usage: bash test/matrix.sh [--keep DIR] [MAJOR]...

Makes a minimal Debian for each MAJOR of 15 (bookworm), 17 (trixie), 18 (forky)
and 19 (forky, with the server from experimental), all by default, with
debootstrap, and runs test/check.sh in it, as many at a time as there are
processors. Needs root, for chroot.

What is in Debian's experimental comes and goes: where 19 cannot be installed, it
is skipped, with a word, and counts as one skipped.

The systems lie in a temporary directory, or in DIR, where they stay for the
next run. Packages come from the mirror that this machine uses.

The last line is "N passed, N failed", over all majors. The exit status is 0
if none failed and at least one passed on each that was not skipped.
HELP
}

# What a system is called, and where it differs, the release that it is made of.
declare -A suites=([15]=bookworm [17]=trixie [18]=forky [19]=experimental)
declare -A releases=([experimental]=forky)
majors=()
keep=
while [ $# -gt 0 ]; do
	case $1 in
		--keep)
			[ -n "${2:-}" ] || die "--keep takes a directory"
			keep=$2
			shift 2
			;;
		-h | --help)
			usage
			exit
			;;
		*)
			[ -n "${suites[$1]:-}" ] || die "no Debian known for $1: see --help"
			majors+=("$1")
			shift
			;;
	esac
done
# Random tables are random everywhere: the machine's own major goes through most.
export CHUNKED_PROPERTY_TABLES=${CHUNKED_PROPERTY_TABLES:-100}
[ "${#majors[@]}" -gt 0 ] || majors=(15 17 18 19)
[ "$EUID" -eq 0 ] || die "needs root, to make a Debian and chroot into it"

# The host's mirror of Debian's main archive.
mirror() {
	local found
	# shellcheck disable=SC2016,SC1091	# apt's variables; a file of the system
	found=$(. /etc/os-release && apt-get indextargets --format '$(REPO_URI)' "Release: ${VERSION_CODENAME:-}" \
		'Component: main' 'Identifier: Packages' | grep '/debian/$' | head -n 1) || true
	say "${found:-http://deb.debian.org/debian/}"
}

# in_namespace COMMAND...: mounts and processes of its own. They end with it,
# however it ends, so that no mount is ever left, nor anything that uses it.
in_namespace() {
	unshare --mount --propagation private --ipc --pid --fork --kill-child "$@"
}

# make_system SUITE DIR
make_system() {
	local suite=$1 dir=$2 release=${releases[$1]:-$1} script=

	# A release younger than debootstrap is made like the one that is always there.
	[ -e "/usr/share/debootstrap/scripts/$release" ] || script=/usr/share/debootstrap/scripts/sid
	rm -rf --one-file-system "$dir.new"
	in_namespace debootstrap --variant=minbase "$release" "$dir.new" "$(mirror)" $script || return
	mv "$dir.new" "$dir"
}

# add_suite MAJOR SUITE DIR: a suite that is no release by itself, for the server's packages alone.
add_suite() {
	say "deb $(mirror) $2 main" >"$3/etc/apt/sources.list.d/$2.list"
	printf '%s\n' "Package: src:postgresql-$1" "Pin: release a=$2" 'Pin-Priority: 500' >"$3/etc/apt/preferences.d/$2"
}

# in_system DIR COMMAND...: as root of the system, with an environment of its own.
in_system() {
	local dir=$1 name environment=()
	shift

	for name in TERM CI CHUNKED_PROPERTY_TABLES http_proxy https_proxy no_proxy; do
		[ -z "${!name+set}" ] || environment+=("$name=${!name}")
	done
	# shellcheck disable=SC2016	# for the inner shell
	in_namespace bash -euc '
		mount -t proc proc "$1/proc"
		mount --bind /dev "$1/dev"
		mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
		exec chroot "$@"
	' bash "$dir" /usr/bin/env -i "${environment[@]}" LC_ALL=C.UTF-8 HOME=/root \
		PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null
}

# can_be_had MAJOR DIR: whether apt could install a server of that major, and what it takes to build for it.
can_be_had() {
	# A suite that the mirror does not have is no reason to stop: the next command tells.
	in_system "$2" apt-get -qq -o Acquire::Retries=3 update || true
	in_system "$2" apt-get -qq --simulate --no-install-recommends install "postgresql-$1" "postgresql-server-dev-$1" >/dev/null
}

# prepare_system DIR: what the system takes from this one: the way to the mirror, and no more.
prepare_system() {
	local dir=$1 name value

	cp -L --remove-destination /etc/resolv.conf "$dir/etc/resolv.conf" || return
	{
		# A mirror may stand still, and its release files expire.
		say 'Acquire::Check-Valid-Until "false";'
		for name in Acquire::http::Proxy Acquire::https::Proxy; do
			value=$(apt-config shell value "$name")
			[ -z "$value" ] || say "$name \"$(eval "$value" && say "$value")\";"
		done
		if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
			say 'Acquire::https::CaInfo "/etc/ssl/matrix.crt";'
		fi
	} >"$dir/etc/apt/apt.conf.d/99matrix"
	if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
		mkdir -p "$dir/etc/ssl"
		cp /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/matrix.crt"
	fi

	rm -rf --one-file-system "$dir/root/pg_chunked"
	copy_checkout "$dir/root/pg_chunked"
}

# test_major MAJOR: everything for one major, to the standard output.
test_major() {
	local major=$1 suite=${suites[$1]} dir=$systems/${suites[$1]} start status=0 server=()

	start=$(now)
	# One where a run was interrupted may have half an installation.
	if [ -e "$dir/root/unfinished" ]; then
		rm -rf --one-file-system "$dir"
	fi
	if [ ! -d "$dir" ]; then
		make_system "$suite" "$dir" >"$logs/debootstrap.$major" 2>&1 || {
			cat "$logs/debootstrap.$major"
			return 1
		}
		say "Debian $suite made in $(elapsed "$start")"
	fi
	prepare_system "$dir" || return
	if [ -n "${releases[$suite]:-}" ]; then
		add_suite "$major" "$suite" "$dir" || return
		if ! can_be_had "$major" "$dir"; then
			say "SKIPPED: postgresql-$major cannot be had from $suite" | tee "$logs/skipped.$major"
			return
		fi
		# The release's own default is another major.
		server=("PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config")
	fi
	: >"$dir/root/unfinished"

	in_system "$dir" "${server[@]}" bash /root/pg_chunked/test/check.sh || status=$?
	rm "$dir/root/unfinished"

	# check.sh promises to leave nothing but packages, which make hidden directories.
	if compgen -G "$dir/tmp/*" >/dev/null || compgen -G "$dir/etc/postgresql/*/*" >/dev/null || [ -e "$dir/usr/sbin/policy-rc.d" ] ||
		grep -qs '^create_main_cluster' "$dir/etc/postgresql-common/createcluster.conf"; then
		say "check.sh left something behind:"
		ls -ld "$dir"/tmp/* "$dir"/etc/postgresql/*/* "$dir/usr/sbin/policy-rc.d" "$dir/etc/postgresql-common/createcluster.conf" || true
		status=1
	fi
	return "$status"
}

# clean_up: ends what still runs, and waits until it has let go of the files.
clean_up() {
	local job try

	trap '' INT TERM HUP
	for job in $(jobs -pr); do
		kill -KILL -- "-$job" 2>/dev/null || true
	done
	disown -a
	for try in {1..100}; do
		[ -n "$(find /proc/[0-9]*/root -maxdepth 0 -lname "$systems/*" 2>/dev/null)" ] || break
		sleep 0.1
	done
	rm -rf --one-file-system "$sandbox"
}

sandbox=$(realpath "$(mktemp -d "${TMPDIR:-/tmp}/pg_chunked_matrix.XXXXXX")")
systems=$sandbox
if [ -n "$keep" ]; then
	mkdir -p "$keep"
	systems=$(realpath "$keep")
	# Held by the jobs, too, should they outlive this script.
	exec 9>"$systems/.lock"
	flock -n 9 || die "another run is using $keep"
fi
logs=$sandbox/log
mkdir "$logs"
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

install_packages debootstrap

for major in "${majors[@]}"; do
	while [ "$(jobs -pr | wc -l)" -ge "$(nproc)" ]; do
		wait -n || true
	done
	# A process group for each, which clean_up ends as one.
	set -m
	{
		status=0
		test_major "$major" 2>&1 || status=$?
		say "$status" >"$logs/status.$major"
	} | tee "$logs/$major" | sed -u "s/^/$major | /" &
	set +m
done
wait

passed=0
failed=0
skipped=0
printf '\n'
for major in "${majors[@]}"; do
	read -r pass fail skip <<<"$(tally "$logs/$major")" || true
	pass=${pass:-0} fail=${fail:-0} skip=${skip:-0} note=
	if [ -e "$logs/skipped.$major" ]; then
		skip=1 note=" ($(<"$logs/skipped.$major"))"
	elif [ "$fail" -eq 0 ] && [ "$(<"$logs/status.$major")" -ne 0 ]; then
		fail=1 note=" (exit status $(<"$logs/status.$major"))"
	elif ! grep -qE "^PostgreSQL $major([^0-9]|$)" "$logs/$major"; then
		fail=$((fail + 1)) note=' (not the major that was asked for)'
	fi
	say "PostgreSQL $major on ${suites[$major]}: $(totals "$pass" "$fail" "$skip")$note"
	passed=$((passed + pass))
	failed=$((failed + fail))
	skipped=$((skipped + skip))
done
printf '\n'
totals "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
