# shellcheck shell=bash
# shellcheck disable=SC2154	# sandbox and root are lib.sh's
#
# stacks.sh: what check.sh and run.sh need to have before stacks.py. Sourced after lib.sh.

# install_stacks [--quick] [STACK]...: Debian's packages on the machine, npm's in the sandbox. A Node.js of other origin
# brings an npm of its own, and does not go with Debian's packages.
install_stacks() {
	local wanted package debian=() npm=()

	wanted=$(/usr/bin/python3 "$root/test/clients/stacks.py" packages "$@")
	for package in $wanted; do
		case $package in
			npm:*) npm+=("${package#npm:}") ;;
			nodejs | npm) command -v "${package/nodejs/node}" >/dev/null || debian+=("$package") ;;
			*) debian+=("$package") ;;
		esac
	done
	install_packages ${debian[@]+"${debian[@]}"}
	if [ "${#npm[@]}" -gt 0 ]; then
		npm install --silent --no-audit --no-fund --no-update-notifier --cache "$sandbox/npm" --prefix "$sandbox/node" "${npm[@]}" \
			>"$sandbox/npm.log" 2>&1 || {
			cat "$sandbox/npm.log" >&2
			die "cannot install ${npm[*]} by npm"
		}
	fi
}
