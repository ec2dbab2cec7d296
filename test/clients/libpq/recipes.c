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
#include <sys/mman.h>
#include <sys/wait.h>
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
	PQclear(PQprepare(connection, "walk", "SELECT * FROM chunked.page(NULL::event, 2000, after => $1)", 0, NULL));
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

/* [resume] */
static void
resume(PGconn *connection, const char *path, Handler handle)
{
	char		after[100] = "{}";
	const char *parameters[] = {after};
	FILE	   *file = fopen(path, "r");
	PGresult   *rows;

	if (file != NULL && fgets(after, sizeof(after), file) != NULL)
		fclose(file);
	while (rows = query(connection, "SELECT * FROM chunked.page(NULL::event, 1000, after => $1)", 1, parameters), PQntuples(rows) > 0)
	{
		handle(rows);
		snprintf(after, sizeof(after), "{\"id\": %s}", PQgetvalue(rows, PQntuples(rows) - 1, 0));
		PQclear(rows);
		file = fopen(path, "w");
		fputs(after, file);
		fclose(file);
	}
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

/* [relations] */
static void
with_orders(PGconn *connection, Handler handle)
{
	char		after[100] = "{}",
				sql[10000];
	const char *parameters[] = {after};
	PGresult   *chunk,
			   *rows;

	while (chunk = query(connection, "SELECT upto, predicate FROM chunked.next_chunk('event', 1000, after => $1, alias => 'e')",
						 1, parameters), PQntuples(chunk) > 0)
	{
		snprintf(after, sizeof(after), "%s", PQgetvalue(chunk, 0, 0));
		snprintf(sql, sizeof(sql), "SELECT e.id, o.position FROM event e LEFT JOIN \"order\" o ON o.event_id = e.id "
				 "WHERE %s ORDER BY e.id", PQgetvalue(chunk, 0, 1));
		rows = query(connection, sql, 0, NULL);
		handle(rows);
		PQclear(rows);
		PQclear(chunk);
	}
	PQclear(chunk);
}
/* [end] */

/* [pages] */
static void
last_numbered(PGconn *connection, Handler handle)
{
	PGresult   *pages = query(connection, "SELECT page_count FROM chunked.paginator('event', 100)", 0, NULL);
	const char *number = PQgetvalue(pages, 0, 0);
	PGresult   *rows = query(connection, "SELECT * FROM chunked.paginate(NULL::event, $1, 100)", 1, &number);

	handle(rows);
	PQclear(rows);
	PQclear(pages);
}
/* [end] */

/* [split] */
static void
export_part(const char *snapshot, const char *predicate, Handler handle)
{
	PGconn	   *connection = PQconnectdb("");
	PGresult   *rows;
	char		sql[10000];

	PQclear(query(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ", 0, NULL));
	snprintf(sql, sizeof(sql), "SET TRANSACTION SNAPSHOT %s", snapshot);
	PQclear(query(connection, sql, 0, NULL));
	snprintf(sql, sizeof(sql), "SELECT * FROM event WHERE %s", predicate);
	rows = query(connection, sql, 0, NULL);
	handle(rows);
	PQclear(rows);
	PQfinish(connection);
}

static bool
export_all(PGconn *connection, Handler handle)
{
	PGresult   *snapshot,
			   *parts;
	int			status,
				failed = 0;

	PQclear(query(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ", 0, NULL));
	snapshot = query(connection, "SELECT quote_literal(pg_export_snapshot())", 0, NULL);
	parts = query(connection, "SELECT predicate FROM chunked.split('event', 8)", 0, NULL);
	for (int i = 0; i < PQntuples(parts); i++)
	{
		if (i >= 4 && wait(&status) > 0)	/* four at a time */
			failed |= status;
		fflush(NULL);
		if (fork() == 0)
		{
			export_part(PQgetvalue(snapshot, 0, 0), PQgetvalue(parts, i, 0), handle);
			exit(0);			/* without PQfinish(connection), which is the parent's */
		}
	}
	while (wait(&status) > 0)
		failed |= status;
	PQclear(query(connection, "COMMIT", 0, NULL));
	PQclear(snapshot);
	PQclear(parts);
	return failed == 0;
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
static bool reversed;
static bool timed;
static int	orders;

/* What the processes of export_all() have in common. */
static struct
{
	volatile int change;		/* 1: one of them changes all rows; 2: they are changed */
	volatile char ids[100000];	/* how often each came */
}		   *shared;

static void
count(PGresult *rows)
{
	for (int i = 0; i < PQntuples(rows); i++)
	{
		int			row = reversed ? PQntuples(rows) - 1 - i : i;

		if (seen++ == 0 && timed)
		{
			puts("first");
			fflush(stdout);
		}
		if (!timed)
			assert(atoi(PQgetvalue(rows, row, 0)) == next);
		next += step;
	}
}

static void
count_and_die(PGresult *rows)
{
	count(rows);
	if (seen > 2000)
		_exit(3);
}

static void
count_with_orders(PGresult *rows)
{
	count(rows);
	for (int i = 0; i < PQntuples(rows); i++)
	{
		if (PQgetisnull(rows, i, 1))
			continue;
		assert(atoi(PQgetvalue(rows, i, 1)) == -atoi(PQgetvalue(rows, i, 0)) / 2);
		orders++;
	}
}

/* The first to come changes all rows, which nobody may see. */
static void
count_part(PGresult *rows)
{
	if (__sync_bool_compare_and_swap(&shared->change, 0, 1))
	{
		PGconn	   *connection = PQconnectdb("");

		PQclear(query(connection, "UPDATE event SET kind = kind + 10", 0, NULL));
		PQfinish(connection);
		shared->change = 2;
	}
	while (shared->change != 2)
		usleep(1000);
	for (int i = 0; i < PQntuples(rows); i++)
	{
		assert(atoi(PQgetvalue(rows, i, PQfnumber(rows, "kind"))) < 10);
		shared->ids[atoi(PQgetvalue(rows, i, 0))]++;
	}
}

static void
expect(int from, int by)
{
	seen = 0;
	next = from;
	step = by;
}

/* Whether backfill() prints this as its last line, and its progress before. */
static bool
backfill_prints(PGconn *connection, const char *last)
{
	char		line[1000];
	bool		progress = false,
				done = false;
	FILE	   *file = tmpfile();
	int			standard = dup(STDOUT_FILENO);

	fflush(stdout);
	dup2(fileno(file), STDOUT_FILENO);
	backfill(connection);
	fflush(stdout);
	dup2(standard, STDOUT_FILENO);
	rewind(file);
	while (fgets(line, sizeof(line), file))
	{
		progress = progress || strchr(line, '%');
		done = strstr(line, last);
	}
	fclose(file);
	return progress && done;
}

static void
check(PGconn *connection)
{
	int			rows = atoi(PQgetvalue(query(connection, "SELECT count(*) FROM event", 0, NULL), 0, 0));
	char		path[] = "/tmp/recipes.XXXXXX",
				done[50];
	int			status;

	expect(1, 1);
	walk(connection, "{}", count);
	assert(seen == rows);
	PQreset(connection);
	expect(1235, 1);
	walk(connection, "{\"id\": 1234}", count);
	assert(seen == rows - 1234);

	close(mkstemp(path));
	unlink(path);
	expect(1, 1);
	if (fork() == 0)
		resume(PQconnectdb(""), path, count_and_die);
	assert(wait(&status) > 0 && WEXITSTATUS(status) == 3);
	expect(2001, 1);			/* the page of which it died, and the others */
	resume(connection, path, count);
	assert(seen == rows - 2000);
	unlink(path);

	expect(rows, -1);
	reversed = true;
	walk_backwards(connection, count);
	assert(seen == rows);
	reversed = false;
	expect(rows - 3, -10);
	newest_first(connection, "7", "event", count);
	assert(seen == rows / 10);
	expect(rows - 3, -10);
	newest_first(connection, "7", "' OR true --", count);
	assert(seen == rows / 10);
	expect(1, 1);
	with_orders(connection, count_with_orders);
	assert(seen == rows && orders == rows / 10);
	expect(rows - 99, 1);
	last_numbered(connection, count);
	assert(seen == 100);

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert(export_all(connection, count_part));
	for (int id = 1; id <= rows; id++)
		assert(shared->ids[id] == 1);

	snprintf(done, sizeof(done), " %d rows in ", rows);
	assert(backfill_prints(connection, done));
	assert(atoi(PQgetvalue(query(connection, "SELECT count(*) FROM event WHERE name LIKE 'EVENT %'", 0, NULL), 0, 0)) == rows);
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
