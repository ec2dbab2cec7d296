/*
 * The recipes of docs/clients.md for libpq.
 *
 * recipes check       goes through all of them
 * recipes bench WAY   walks the table for stacks.py
 */
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

/* [query] */
static PGresult *
query(PGconn *connection, const char *sql, int count, const char *const *parameters)
{
	PGresult   *result = PQexecParams(connection, sql, count, NULL, parameters, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
	{
		fputs(PQerrorMessage(connection), stderr);
		exit(1);
	}
	return result;
}
/* [end] */

/* [walk] */
typedef void (*Handler) (PGresult *rows);

static void
walk(PGconn *connection, const char *start, Handler handle)
{
	char		after[100];
	const char *parameters[] = {after};
	PGresult   *rows;

	snprintf(after, sizeof(after), "%s", start);	/* {}, or where to go on */
	PQclear(PQprepare(connection, "walk", "SELECT * FROM chunked.page(NULL::event, 5000, after => $1)", 0, NULL));
	while (rows = PQexecPrepared(connection, "walk", 1, parameters, NULL, NULL, 0), PQntuples(rows) > 0)
	{
		handle(rows);
		snprintf(after, sizeof(after), "{\"id\": %s}", PQgetvalue(rows, PQntuples(rows) - 1, 0));
		PQclear(rows);
	}
	if (PQresultStatus(rows) != PGRES_TUPLES_OK)
		fputs(PQerrorMessage(connection), stderr);	/* after has where to go on */
	PQclear(rows);
}
/* [end] */

/* [backwards] */
static void
walk_backwards(PGconn *connection, Handler handle)
{
	char		before[100] = "{}";
	const char *parameters[] = {before};
	PGresult   *rows;

	while (rows = query(connection, "SELECT * FROM chunked.page(NULL::event, 1000, before => $1)", 1, parameters), PQntuples(rows) > 0)
	{
		handle(rows);			/* from its last row to its first */
		snprintf(before, sizeof(before), "{\"id\": %s}", PQgetvalue(rows, 0, 0));
		PQclear(rows);
	}
	PQclear(rows);
}
/* [end] */

/* [order] */
static void
newest_first(PGconn *connection, const char *kind, const char *name, Handler handle)
{
	char	   *after = strdup("{}");
	PGresult   *rows;

	while (rows = query(connection,
						"SELECT p.*, chunked.position_of(p, 'created_at DESC, id DESC') "
						"FROM chunked.page(NULL::event, 1000, after => $1, key => 'created_at DESC, id DESC', "
						"filter => 'kind = $1 AND name > $2', args => jsonb_build_array($2::text, $3::text)) p",
						3, (const char *[]) {after, kind, name}), PQntuples(rows) > 0)
	{
		handle(rows);
		free(after);
		after = strdup(PQgetvalue(rows, PQntuples(rows) - 1, PQnfields(rows) - 1));
		PQclear(rows);
	}
	PQclear(rows);
	free(after);
}
/* [end] */

/* [worker] */
static void
work(PGconn *connection, const char *job, Handler handle)
{
	for (;;)
	{
		PGresult   *chunk = query(connection, "SELECT number, fence, predicate, state FROM chunked.claim_chunk($1)", 1, &job);
		const char *state = PQgetvalue(chunk, 0, 3);
		char		sql[10000];
		PGresult   *rows;

		if (strcmp(state, "wait") == 0)
			sleep(1);
		else if (strcmp(state, "claimed") != 0)
			break;
		else
		{
			snprintf(sql, sizeof(sql), "SELECT * FROM event WHERE %s ORDER BY id", PQgetvalue(chunk, 0, 2));
			rows = query(connection, sql, 0, NULL);
			handle(rows);
			PQclear(rows);
			PQclear(query(connection, "SELECT chunked.complete_chunk($1, $2, $3)", 3,
						  (const char *[]) {job, PQgetvalue(chunk, 0, 0), PQgetvalue(chunk, 0, 1)}));
		}
		PQclear(chunk);
	}
}
/* [end] */

/* [backfill] */
static void
print_notice(void *unused, const PGresult *notice)
{
	printf("%s\n", PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY));
}

static void
backfill(PGconn *connection)
{
	PQsetNoticeReceiver(connection, print_notice, NULL);
	PQclear(query(connection, "CALL chunked.run('event', 'UPDATE event SET name = upper(name) WHERE {chunk}')", 0, NULL));
}
/* [end] */

/* Their checks */

static int	seen;
static int	next;
static int	step;
static bool timed;

static void
count(PGresult *rows)
{
	for (int i = 0; i < PQntuples(rows); i++)
	{
		int			row = step < 0 ? PQntuples(rows) - 1 - i : i;

		if (seen++ == 0 && timed)
		{
			puts("first");
			fflush(stdout);
		}
		if (step != 0)
			assert(atoi(PQgetvalue(rows, row, 0)) == next);
		next += step;
	}
}

static void
expect(int from, int by)
{
	seen = 0;
	next = from;
	step = by;
}

static void
check(PGconn *connection)
{
	int			rows = atoi(PQgetvalue(query(connection, "SELECT count(*) FROM event", 0, NULL), 0, 0));

	expect(1, 1);
	walk(connection, "{}", count);
	assert(seen == rows);
	PQreset(connection);
	expect(1235, 1);
	walk(connection, "{\"id\": 1234}", count);
	assert(seen == rows - 1234);
	expect(rows, -1);
	walk_backwards(connection, count);
	assert(seen == rows);
	expect(rows - 3, 0);
	newest_first(connection, "7", "event", count);
	assert(seen == rows / 10);
	newest_first(connection, "7", "' OR true --", count);
	assert(seen == rows / 5);
	backfill(connection);
	expect(1, 1);
	work(connection, PQgetvalue(query(connection, "SELECT chunked.create_job('event')", 0, NULL), 0, 0), count);
	assert(seen == rows);
}

/* What stacks.py measures */

static void
bench(PGconn *connection, const char *way)
{
	char		line[10];
	PGresult   *rows;

	timed = true;
	printf("ready libpq %d\n", PQlibVersion() / 10000);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(1);
	if (strcmp(way, "ours") == 0)
		walk(connection, "{}", count);
	else if (strcmp(way, "stream") == 0)
	{
		PQclear(query(connection, "BEGIN", 0, NULL));
		PQclear(query(connection, "DECLARE walk CURSOR FOR SELECT * FROM event ORDER BY id", 0, NULL));
		while (rows = query(connection, "FETCH 1000 FROM walk", 0, NULL), PQntuples(rows) > 0)
		{
			count(rows);
			PQclear(rows);
		}
		PQclear(query(connection, "COMMIT", 0, NULL));
	}
	else
		count(query(connection, "SELECT * FROM event ORDER BY id", 0, NULL));
	printf("done %d\n", seen);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(1);
}

int
main(int argc, char **argv)
{
	PGconn	   *connection = PQconnectdb("");

	assert(PQstatus(connection) == CONNECTION_OK);
	if (strcmp(argv[1], "check") == 0)
		check(connection);
	else
		bench(connection, argv[2]);
	PQfinish(connection);
	return 0;
}
