# shellcheck shell=bash
# shellcheck disable=SC2154	# sandbox and root are lib.sh's
#
# stacks.sh: what check.sh and run.sh need to have before stacks.py. Sourced after lib.sh.

# install_stacks [--quick] [STACK]...: Debian's packages on the machine.
install_stacks() {
	local wanted package debian=() npm=()

	wanted=$(/usr/bin/python3 "$root/test/clients/stacks.py" packages "$@")
	if [[ $wanted == *node-pg* ]] && has_other_node; then
		npm=(pg pg-query-stream)
	fi
	for package in $wanted; do
		case $package in
			nodejs | node-pg) [ "${#npm[@]}" -gt 0 ] || debian+=("$package") ;;
			*) debian+=("$package") ;;
		esac
	done
	install_packages ${debian[@]+"${debian[@]}"}
	if [ "${#npm[@]}" -gt 0 ]; then
		NODE_DISABLE_COMPILE_CACHE=1 npm install --silent --no-audit --no-fund --no-update-notifier \
			--cache "$sandbox/npm" --prefix "$sandbox/node" "${npm[@]}" >"$sandbox/npm.log" 2>&1 || {
			cat "$sandbox/npm.log" >&2
			die "cannot install ${npm[*]} by npm"
		}
	fi
}

# has_other_node: whether there is a Node.js of other origin, with which Debian's packages do not go. It brings an npm of
# its own, which installs into the sandbox.
has_other_node() {
	command -v node >/dev/null && ! is_installed node-pg && ! apt-get -qq --simulate install node-pg >/dev/null 2>&1
}
