// The recipes of docs/clients.md for Go with pgx.
//
// recipes check       goes through all of them
// recipes bench WAY   walks the table for stacks.py
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"golang.org/x/sync/errgroup"
)

type Event struct {
	ID        int64
	CreatedAt time.Time
	Kind      int32
	Name      *string
}

// [walk]
func walk(ctx context.Context, conn *pgx.Conn, after string, handle func(Event)) error {
	for {
		rows, err := conn.Query(ctx, "SELECT * FROM chunked.page(NULL::event, 5000, after => $1)", after)
		if err != nil {
			return err
		}
		var event Event
		for rows.Next() {
			if err := rows.Scan(&event.ID, &event.CreatedAt, &event.Kind, &event.Name); err != nil {
				return err
			}
			handle(event)
		}
		if rows.Err() != nil || rows.CommandTag().RowsAffected() == 0 {
			return rows.Err()
		}
		after = fmt.Sprintf(`{"id": %d}`, event.ID)
	}
}

// [end]

// [resume]
func resume(ctx context.Context, conn *pgx.Conn, file string, handle func(Event)) error {
	after, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		after = []byte("{}")
	} else if err != nil {
		return err
	}
	rows := 0
	return walk(ctx, conn, string(after), func(event Event) {
		handle(event)
		if rows++; rows%1000 == 0 { // after a crash, the rows since then come again
			os.WriteFile(file, []byte(fmt.Sprintf(`{"id": %d}`, event.ID)), 0o600)
		}
	})
}

// [end]

// [backwards]
func lastPage(ctx context.Context, conn *pgx.Conn, before string) (pgx.Rows, error) {
	return conn.Query(ctx, "SELECT * FROM chunked.page(NULL::event, 1000, before => $1)", before)
}

// [end]

// [order]
func newestFirst(ctx context.Context, conn *pgx.Conn, kind int, name string, handle func(Event)) error {
	args, _ := json.Marshal([]interface{}{kind, name})
	after := "{}"
	for {
		rows, err := conn.Query(ctx, `
			SELECT p.*, chunked.position_of(p, 'created_at DESC, id DESC')::text
			FROM chunked.page(NULL::event, 1000, after => $1, key => 'created_at DESC, id DESC',
			                  filter => 'kind = $1 AND name > $2', args => $2) p`, after, string(args))
		if err != nil {
			return err
		}
		var event Event
		for rows.Next() {
			if err := rows.Scan(&event.ID, &event.CreatedAt, &event.Kind, &event.Name, &after); err != nil {
				return err
			}
			handle(event)
		}
		if rows.Err() != nil || rows.CommandTag().RowsAffected() == 0 {
			return rows.Err()
		}
	}
}

// [end]

// [relations]
func withOrders(ctx context.Context, conn *pgx.Conn, handle func(pgx.Rows) error) error {
	after, predicate := "{}", ""
	for {
		err := conn.QueryRow(ctx, "SELECT upto::text, predicate FROM chunked.next_chunk('event', 1000, after => $1, alias => 'e')",
			after).Scan(&after, &predicate)
		if err == pgx.ErrNoRows {
			return nil
		} else if err != nil {
			return err
		}
		rows, err := conn.Query(ctx, `
			SELECT e.id, o.position FROM event e LEFT JOIN "order" o ON o.event_id = e.id WHERE `+predicate+" ORDER BY e.id")
		if err != nil {
			return err
		}
		if err := handle(rows); err != nil {
			return err
		}
	}
}

// [end]

// [pages]
func pageCount(ctx context.Context, conn *pgx.Conn) (pages int64, err error) {
	err = conn.QueryRow(ctx, "SELECT page_count FROM chunked.paginator('event', 100)").Scan(&pages)
	return pages, err
}

func numbered(ctx context.Context, conn *pgx.Conn, number int64) (pgx.Rows, error) {
	return conn.Query(ctx, "SELECT * FROM chunked.paginate(NULL::event, $1, 100)", number)
}

// [end]

// [split]
var repeatable = pgx.TxOptions{IsoLevel: pgx.RepeatableRead}

func export(ctx context.Context, handle func(Event)) error {
	conn, err := pgx.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	tx, err := conn.BeginTx(ctx, repeatable)
	if err != nil {
		return err
	}
	var snapshot string
	var predicates []string
	err = tx.QueryRow(ctx, "SELECT quote_literal(pg_export_snapshot()), array_agg(predicate) FROM chunked.split('event', 8)").Scan(
		&snapshot, &predicates)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for _, predicate := range predicates {
		predicate := predicate
		group.Go(func() error { return exportPart(ctx, snapshot, predicate, handle) })
	}
	return group.Wait()
}

func exportPart(ctx context.Context, snapshot, predicate string, handle func(Event)) error {
	conn, err := pgx.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	tx, err := conn.BeginTx(ctx, repeatable)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT "+snapshot); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, "SELECT * FROM event WHERE "+predicate)
	if err != nil {
		return err
	}
	for rows.Next() {
		var event Event
		if err := rows.Scan(&event.ID, &event.CreatedAt, &event.Kind, &event.Name); err != nil {
			return err
		}
		handle(event)
	}
	if rows.Err() != nil {
		return rows.Err()
	}
	return tx.Commit(ctx)
}

// [end]

// [backfill]
func backfill(ctx context.Context) error {
	config, err := pgx.ParseConfig("")
	if err != nil {
		return err
	}
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { fmt.Println(notice.Message) }
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CALL chunked.run('event', 'UPDATE event SET name = upper(name) WHERE {chunk}')")
	return err
}

// [end]

// [worker]
func work(ctx context.Context, conn *pgx.Conn, job string, handle func(pgx.Rows) error) (string, error) {
	for {
		var number, fence *int64
		var predicate *string
		var state string
		err := conn.QueryRow(ctx, "SELECT number, fence, predicate, state FROM chunked.claim_chunk($1)", job).Scan(
			&number, &fence, &predicate, &state)
		if err != nil {
			return "", err
		}
		if state == "wait" {
			time.Sleep(time.Second)
			continue
		} else if state != "claimed" {
			return state, nil
		}
		rows, err := conn.Query(ctx, "SELECT * FROM event WHERE "+*predicate+" ORDER BY id")
		if err != nil {
			return "", err
		}
		if err := handle(rows); err != nil {
			return "", err
		}
		if _, err := conn.Exec(ctx, "SELECT chunked.complete_chunk($1, $2, $3)", job, *number, *fence); err != nil {
			return "", err
		}
	}
}

// [end]

// Their checks

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func expect(what string, got, expected interface{}) {
	if fmt.Sprint(got) != fmt.Sprint(expected) {
		log.Fatalf("%s: %.200s, not %.200s", what, fmt.Sprint(got), fmt.Sprint(expected))
	}
}

func ids(rows pgx.Rows) []int64 {
	var found []int64
	for rows.Next() {
		var event Event
		must(rows.Scan(&event.ID, &event.CreatedAt, &event.Kind, &event.Name))
		found = append(found, event.ID)
	}
	must(rows.Err())
	return found
}

// printed is what is printed meanwhile.
func printed(do func()) string {
	stdout := os.Stdout
	reader, writer, err := os.Pipe()
	must(err)
	os.Stdout = writer
	do()
	os.Stdout = stdout
	must(writer.Close())
	text, err := io.ReadAll(reader)
	must(err)
	return string(text)
}

func check(ctx context.Context, conn *pgx.Conn) {
	var count int64
	var job string
	var everything, backwards, seen []int64
	var guard sync.Mutex
	collect := func(event Event) {
		guard.Lock()
		seen = append(seen, event.ID)
		guard.Unlock()
	}
	must(conn.QueryRow(ctx, "SELECT count(*) FROM event").Scan(&count))
	for id := int64(1); id <= count; id++ {
		everything = append(everything, id)
	}
	for id := count; id > 0; id-- {
		if id%10 == 7 {
			backwards = append(backwards, id)
		}
	}

	must(walk(ctx, conn, "{}", collect))
	expect("walk", seen, everything)
	seen = nil
	file := filepath.Join(filepath.Dir(os.Args[0]), "position")
	another, err := pgx.Connect(ctx, "")
	must(err)
	func() {
		defer func() { recover() }()
		resume(ctx, another, file, func(event Event) {
			if int64(len(seen)) == count/2 {
				panic("stopped")
			}
			collect(event)
		})
	}()
	must(another.Close(ctx))
	must(resume(ctx, conn, file, collect))
	expect("resume", seen, append(everything[:count/2:count/2], everything[count/2/1000*1000:]...))
	rows, err := lastPage(ctx, conn, "{}")
	must(err)
	expect("last page", ids(rows), everything[count-1000:])
	rows, err = lastPage(ctx, conn, `{"id": 1501}`)
	must(err)
	expect("the page before", ids(rows), everything[500:1500])
	seen = nil
	must(newestFirst(ctx, conn, 7, "' OR true --", collect))
	expect("order and filter", seen, backwards)
	orders := 0
	seen = nil
	must(withOrders(ctx, conn, func(rows pgx.Rows) error {
		for rows.Next() {
			var id int64
			var position *int64
			must(rows.Scan(&id, &position))
			seen = append(seen, id)
			if position != nil {
				expect("position", *position, -id/2)
				orders++
			}
		}
		return rows.Err()
	}))
	expect("relations", seen, everything)
	expect("their orders", orders, count/10)
	pages, err := pageCount(ctx, conn)
	must(err)
	expect("page count", pages, count/100)
	rows, err = numbered(ctx, conn, pages)
	must(err)
	expect("pages", ids(rows), everything[count-100:])
	var change sync.Once
	seen = nil
	must(export(ctx, func(event Event) {
		change.Do(func() {
			_, err := conn.Exec(ctx, "UPDATE event SET kind = kind + 10")
			must(err)
		})
		expect("snapshot", event.Kind < 10, true)
		collect(event)
	}))
	sort.Slice(seen, func(i, j int) bool { return seen[i] < seen[j] })
	expect("split", seen, everything)
	notices := printed(func() { must(backfill(ctx)) })
	expect("progress", strings.Contains(notices, "%"), true)
	expect("its end", strings.Contains(notices, fmt.Sprintf(" %d rows in ", count)), true)
	var changed int64
	must(conn.QueryRow(ctx, "SELECT count(*) FROM event WHERE name LIKE 'EVENT %'").Scan(&changed))
	expect("backfill", changed, count)
	must(conn.QueryRow(ctx, "SELECT chunked.create_job('event')").Scan(&job))
	seen = nil
	state, err := work(ctx, conn, job, func(rows pgx.Rows) error {
		seen = append(seen, ids(rows)...)
		return nil
	})
	must(err)
	expect("worker", state, "done")
	expect("its rows", seen, everything)
}

// What stacks.py measures

func bench(ctx context.Context, conn *pgx.Conn, way string) {
	input := bufio.NewReader(os.Stdin)
	done := 0
	handle := func(Event) {
		if done == 0 {
			fmt.Println("first")
		}
		done++
	}
	fmt.Println("ready Go, pgx 4")
	input.ReadString('\n')
	if way == "ours" {
		must(walk(ctx, conn, "{}", handle))
	} else {
		var all []Event
		rows, err := conn.Query(ctx, "SELECT * FROM event ORDER BY id")
		must(err)
		for rows.Next() {
			var event Event
			must(rows.Scan(&event.ID, &event.CreatedAt, &event.Kind, &event.Name))
			if way == "stream" {
				handle(event)
			} else {
				all = append(all, event)
			}
		}
		must(rows.Err())
		for _, event := range all {
			handle(event)
		}
	}
	fmt.Println("done", done)
	input.ReadString('\n')
}

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "")
	must(err)
	defer conn.Close(ctx)
	if os.Args[1] == "check" {
		check(ctx, conn)
	} else {
		bench(ctx, conn, os.Args[2])
	}
}
