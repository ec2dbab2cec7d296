#!/bin/bash
#
# The recipes of docs/clients.md for psql and the shell.
#
# recipes.sh check       goes through all of them
# recipes.sh bench WAY   walks the table for stacks.py

set -euo pipefail

# [walk]
sql() {
	psql -XqAt -v ON_ERROR_STOP=1 "$@"
}

walk() {
	sql <<-'SQL'
		SELECT format('SELECT * FROM event WHERE %s ORDER BY id', predicate) FROM chunked.chunks('event', 5000) \gexec
	SQL
}
# [end]

# [resume]
resume() {
	local page
	while
		page=$(sql -v after="$(cat position 2>/dev/null || echo '{}')" <<-'SQL'
			BEGIN ISOLATION LEVEL REPEATABLE READ;
			SELECT * FROM chunked.page(NULL::event, 1000, after => :'after');
			SELECT chunked.position_of(p) FROM chunked.page(NULL::event, 1000, after => :'after') p \g |tail -n 1 >next
		SQL
		) || return
		[ -s next ]
	do
		handle "$page" || return
		mv next position
	done
}
# [end]

# [backwards]
page_before() {
	sql -v before="$1" <<-'SQL'
		SELECT * FROM chunked.page(NULL::event, 1000, before => :'before');
	SQL
}
# [end]

# [filter]
named() {
	sql -v kind="$1" -v name="$2" <<-'SQL'
		SELECT * FROM chunked.page(NULL::event, 1000, filter => 'kind = $1 AND name > $2', args => jsonb_build_array(:'kind', :'name'));
	SQL
}
# [end]

# [order]
newest_first() {
	sql <<-'SQL'
		SELECT format('SELECT * FROM event WHERE %s ORDER BY created_at DESC, id DESC', predicate)
		FROM chunked.chunks('event', 5000, key => 'created_at DESC, id DESC') \gexec
	SQL
}
# [end]

# [relations]
with_orders() {
	sql <<-'SQL'
		SELECT format('SELECT e.id, o.position FROM event e LEFT JOIN "order" o ON o.event_id = e.id WHERE %s ORDER BY e.id', predicate)
		FROM chunked.chunks('event', 5000, alias => 'e') \gexec
	SQL
}
# [end]

# [pages]
page_number() {
	sql -v number="$1" <<-'SQL'
		SELECT * FROM chunked.paginate(NULL::event, :number, 100);
	SQL
}
# [end]

# [split]
export_all() {
	local snapshot
	coproc holder { sql; }
	echo 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot();' >&"${holder[1]}"
	read -r snapshot <&"${holder[0]}"
	sql -0z -c "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'" \
		-c "SELECT predicate FROM chunked.split('event', 8)" |
		xargs -0 -n 1 -P 4 sh -c 'psql -XqAt -v ON_ERROR_STOP=1 -c "BEGIN ISOLATION LEVEL REPEATABLE READ" -c "SET TRANSACTION SNAPSHOT '"'$snapshot'"'" \
			-c "COPY (SELECT * FROM event WHERE $0) TO STDOUT" >"$(mktemp part.XXXXXX)"'
	echo 'COMMIT' >&"${holder[1]}"
}
# [end]

# [backfill]
backfill() {
	sql -c "CALL chunked.run('event', 'UPDATE event SET name = upper(name) WHERE {chunk}')"
}
# [end]

# [worker]
work() {
	local chunk number fence state predicate
	while chunk=$(sql -v job="$1" <<<"SELECT number, fence, state, predicate FROM chunked.claim_chunk(:'job')"); do
		IFS='|' read -r number fence state predicate <<<"$chunk"
		case $state in
			wait) sleep 1 ;;
			claimed)
				handle "$(sql -c "SELECT * FROM event WHERE $predicate ORDER BY id")" || return
				sql -v job="$1" -v number="$number" -v fence="$fence" <<<"SELECT chunked.complete_chunk(:'job', :number, :fence)" >/dev/null
				;;
			done) return ;;
			*) return 1 ;;
		esac
	done
}
# [end]

# Their checks

# expect WHAT PRINTED EXPECTED
expect() {
	[ "$2" = "$3" ] || {
		printf '%s: printed is\n%s\nnot\n%s\n' "$1" "$(head -n 5 <<<"$2")" "$(head -n 5 <<<"$3")"
		exit 1
	}
}

ids() {
	cut -d '|' -f 1
}

handle() {
	cat <<<"$1" >>rows
	if [ -n "${stop_at:-}" ] && [ "$(wc -l <rows)" -ge "$stop_at" ]; then
		exit 1
	fi
}

check() {
	local count everything real

	cd "$(mktemp -d)"
	trap 'rm -rf "$PWD"' EXIT
	count=$(psql -XqAt -c 'SELECT count(*) FROM event')
	# Each part changes all rows before, which nobody may see.
	real=$(command -v psql)
	cat >psql <<-SH
		#!/bin/sh
		case "\$*" in *COPY*) "$real" -Xqc 'UPDATE event SET kind = kind + 10' ;; esac
		exec "$real" "\$@"
	SH
	chmod +x psql
	everything=$(seq "$count")

	expect walk "$(walk | ids)" "$everything"
	expect "its rows" "$(walk | sed -n 1p)" "$(psql -XqAt -c 'SELECT * FROM event WHERE id = 1')"
	(stop_at=$((count / 2)) resume) || true
	expect "as far as it went" "$(wc -l <rows)" 3000
	echo '{"id": "3000"}' >position		# it died after the page, before the position was there
	resume
	expect resume "$(ids <rows)" "$everything"
	psql -Xq <<-'SQL'
		CREATE SCHEMA hostile CREATE TABLE event (id text COLLATE "C" PRIMARY KEY);
		INSERT INTO hostile.event SELECT E'|\n{"id": "1"}\n\n\'\\' || i FROM generate_series(1, 2000) i UNION ALL VALUES (E'\n'), ('');
	SQL
	rm rows position
	PGOPTIONS="${PGOPTIONS:-} -c search_path=hostile" resume
	expect "keys that are hard for a shell" "$(<rows)" "$(psql -XqAt -c 'SELECT id FROM hostile.event ORDER BY id')"
	psql -Xq -c 'SET client_min_messages = warning' -c 'DROP SCHEMA hostile CASCADE'
	(PGPORT=1 resume 2>/dev/null) && expect "a walk without a server" ended failed
	expect "last page" "$(page_before '{}' | ids)" "$(tail -n 1000 <<<"$everything")"
	expect backwards "$(page_before '{"id": 1501}' | ids)" "$(seq 501 1500)"
	expect filter "$(named 7 "event 5' OR true --" | wc -l)" \
		"$(psql -XqAt -c "SELECT count(*) FROM event WHERE kind = 7 AND name > 'event 5'' OR true --'")"
	expect order "$(newest_first | ids)" "$(sort -rn <<<"$everything")"
	expect relations "$(with_orders | grep -c '|-')" $((count / 10))
	expect pages "$(page_number $((count / 100)) | ids)" "$(tail -n 100 <<<"$everything")"
	PATH=$PWD:$PATH export_all
	expect split "$(cat part.* | cut -f 1 | sort -n)" "$everything"
	expect snapshot "$(cat part.* | cut -f 3 | sort -u)" "$(seq 0 9)"
	expect backfill "$(backfill 2>&1 | grep -c 'is done')" 1
	expect progress "$(backfill 2>&1 | grep -c '[0-9]%' | sed 's/^[1-9].*/some/')" some
	rm rows
	expect worker "$(work "$(psql -XqAt -c "SELECT chunked.create_job('event')")" && ids <rows)" "$everything"
}

# bench WAY: in one psql, whose rows go elsewhere, but for the word that the first one is there
bench() {
	local fetch='' query='SELECT * FROM event ORDER BY id;'

	case $1 in
		ours) query="SELECT format('SELECT * FROM event WHERE %s ORDER BY id', predicate) FROM chunked.chunks('event', 5000) \\gexec" ;;
		stream) fetch='\set FETCH_COUNT 1000' ;;
	esac
	exec psql -XqAt -f <(printf '%s\n' "SELECT 1 \\g /dev/null" "$fetch" "\\echo ready psql \`psql --version | cut -d ' ' -f 3\`" "\\! head -n 1 >/dev/null" \
		"\\o |sed -un '1s/.*/first/p;\$=' | sed -u '2s/^/done /'" "$query" "\\o" "\\! head -n 1 >/dev/null")
}

if [ "$1" = check ]; then
	check
else
	bench "$2"
fi
