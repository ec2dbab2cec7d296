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
	"log"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
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

// [backwards]
func lastPage(ctx context.Context, conn *pgx.Conn, before string) (pgx.Rows, error) {
	return conn.Query(ctx, "SELECT * FROM chunked.page(NULL::event, 1000, before => $1)", before) // {} is the end
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

// [split]
func export(ctx context.Context, handle func(Event)) error {
	repeatable := pgx.TxOptions{IsoLevel: pgx.RepeatableRead}
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
	if err := tx.QueryRow(ctx, "SELECT quote_literal(pg_export_snapshot())").Scan(&snapshot); err != nil {
		return err
	}
	if err := tx.QueryRow(ctx, "SELECT array_agg(predicate) FROM chunked.split('event', 4)").Scan(&predicates); err != nil {
		return err
	}
	var group sync.WaitGroup
	errs := make([]error, len(predicates))
	for i, predicate := range predicates {
		group.Add(1)
		go func(i int, predicate string) {
			defer group.Done()
			errs[i] = exportPart(ctx, repeatable, snapshot, predicate, handle)
		}(i, predicate)
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return tx.Commit(ctx)
}

func exportPart(ctx context.Context, options pgx.TxOptions, snapshot, predicate string, handle func(Event)) error {
	conn, err := pgx.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	tx, err := conn.BeginTx(ctx, options)
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
	another, err := pgx.Connect(ctx, "")
	must(err)
	must(walk(ctx, another, `{"id": 1234}`, collect))
	must(another.Close(ctx))
	expect("resume", seen, everything[1234:])
	rows, err := lastPage(ctx, conn, "{}")
	must(err)
	expect("last page", ids(rows), everything[count-1000:])
	seen = nil
	must(newestFirst(ctx, conn, 7, "' OR true --", collect))
	expect("order and filter", seen, backwards)
	seen = nil
	must(export(ctx, collect))
	sort.Slice(seen, func(i, j int) bool { return seen[i] < seen[j] })
	expect("split", seen, everything)
	must(backfill(ctx))
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
