/*
 * walks.c
 *		A client that costs little: walks a table by turns in several ways, and
 *		prints how many rows a second each brought.
 *
 *	walks TABLE KEY SIZE ROWS ROUNDS WAY...
 *
 * KEY is the first column of TABLE, and unique.  Each WAY reads the first ROWS
 * rows in the key's order, SIZE at a time, on a connection of its own, opened
 * by libpq's environment; they take turns, so that a busy machine slows all
 * alike.  For each of ROUNDS equal parts of the walk a line with a rate for each
 * WAY is printed.  Ways:
 *
 *	page		chunked.page(), the next position made by the client
 *	position	chunked.page(), with chunked.position_of() beside every row
 *	keyset		the query that one writes by hand
 *	cursor		a server-side cursor
 *
 * All queries are prepared.  That all ways bring the same rows is checked.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

/* Rows that a way brings before it is the next one's turn: some milliseconds' worth */
#define SLICE 5000
#define MOST_WAYS 8

static const char *table;
static const char *key;
static long size;

typedef struct Way
{
	const char *name;
	PGconn	   *conn;
	long		rows;
	uint64_t	sum;			/* of the keys' hashes */
	char	   *after;			/* the parameter of the next query, or NULL */
	double		seconds;		/* in this round */
} Way;

static void
fail(const char *what, PGconn *conn)
{
	fprintf(stderr, "walks: %s: %s\n", what, conn == NULL ? "" : PQerrorMessage(conn));
	exit(1);
}

static void
run(PGconn *conn, const char *sql)
{
	PGresult   *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(sql, conn);
	PQclear(result);
}

static void
prepare(PGconn *conn, const char *name, const char *sql)
{
	PGresult   *result = PQprepare(conn, name, sql, 0, NULL);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(sql, conn);
	PQclear(result);
}

static void
begin(Way *way)
{
	char		sql[1000];

	way->conn = PQconnectdb("");
	if (PQstatus(way->conn) != CONNECTION_OK)
		fail("cannot connect", way->conn);
	if (strcmp(way->name, "page") == 0)
		snprintf(sql, sizeof(sql), "SELECT * FROM chunked.page(NULL::%s, %ld, after => $1)", table, size);
	else if (strcmp(way->name, "position") == 0)
		snprintf(sql, sizeof(sql), "SELECT e.*, chunked.position_of(e) FROM chunked.page(NULL::%s, %ld, after => $1) AS e",
				 table, size);
	else if (strcmp(way->name, "keyset") == 0)
	{
		snprintf(sql, sizeof(sql), "SELECT * FROM %s ORDER BY %s LIMIT %ld", table, key, size);
		prepare(way->conn, "first", sql);
		snprintf(sql, sizeof(sql), "SELECT * FROM %s WHERE %s > $1 ORDER BY %s LIMIT %ld", table, key, key, size);
	}
	else if (strcmp(way->name, "cursor") == 0)
	{
		run(way->conn, "BEGIN");
		snprintf(sql, sizeof(sql), "DECLARE walk NO SCROLL CURSOR FOR SELECT * FROM %s ORDER BY %s", table, key);
		run(way->conn, sql);
		snprintf(sql, sizeof(sql), "FETCH %ld FROM walk", size);
	}
	else
		fail("no such way", NULL);
	prepare(way->conn, "next", sql);
}

static PGresult *
fetch(Way *way)
{
	const char *values[1] = {way->after};
	int			nparams = strcmp(way->name, "cursor") != 0;
	PGresult   *result;

	if (strcmp(way->name, "keyset") == 0 && way->after == NULL)
		result = PQexecPrepared(way->conn, "first", 0, NULL, NULL, NULL, 0);
	else
		result = PQexecPrepared(way->conn, "next", nparams, values, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("a walk failed", way->conn);
	return result;
}

/* Where the next page starts */
static void
keep_position(Way *way, const PGresult *result, int last)
{
	char		position[200];

	free(way->after);
	if (strcmp(way->name, "page") == 0)
		snprintf(position, sizeof(position), "{\"%s\": \"%s\"}", key, PQgetvalue(result, last, 0));
	else
		snprintf(position, sizeof(position), "%s",
				 PQgetvalue(result, last, strcmp(way->name, "position") == 0 ? PQnfields(result) - 1 : 0));
	way->after = strdup(position);
}

/* Bring rows until there are upto of them; false if there are no more */
static int
advance(Way *way, long upto)
{
	struct timespec start;
	struct timespec end;
	int			more = 1;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (more && way->rows < upto)
	{
		PGresult   *result = fetch(way);
		int			ntuples = PQntuples(result);

		for (int i = 0; i < ntuples; i++)
		{
			uint64_t	hash = 14695981039346656037u;

			for (const char *p = PQgetvalue(result, i, 0); *p; p++)
				hash = (hash ^ (unsigned char) *p) * 1099511628211u;
			way->sum += hash;
		}
		way->rows += ntuples;
		more = ntuples > 0;
		if (more)
			keep_position(way, result, ntuples - 1);
		PQclear(result);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	way->seconds += (end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec) / 1e9;
	return more;
}

int
main(int argc, char **argv)
{
	Way			ways[MOST_WAYS] = {0};
	int			nways = argc - 6;
	long		rows;
	long		rounds;
	long		turn = 0;

	if (nways < 1 || nways > MOST_WAYS)
		fail("usage: walks TABLE KEY SIZE ROWS ROUNDS WAY...", NULL);
	table = argv[1];
	key = argv[2];
	size = atol(argv[3]);
	rows = atol(argv[4]);
	rounds = atol(argv[5]);
	if (size < 1 || rows < 1 || rounds < 1)
		fail("SIZE, ROWS and ROUNDS must be greater than 0", NULL);
	for (int i = 0; i < nways; i++)
	{
		ways[i].name = argv[6 + i];
		begin(&ways[i]);
	}

	for (long round = 0; round < rounds; round++)
	{
		long		low = rows * round / rounds;
		long		high = rows * (round + 1) / rounds;

		for (long end = low; end < high;)
		{
			end = end + SLICE < high ? end + SLICE : high;
			turn++;
			for (int i = 0; i < nways; i++)
				if (!advance(&ways[(i + turn) % nways], end))
					fail("a walk has too few rows", NULL);
		}
		for (int i = 0; i < nways; i++)
		{
			printf("%s%.0f", i > 0 ? " " : "", (high - low) / ways[i].seconds);
			ways[i].seconds = 0;
		}
		printf("\n");
		fflush(stdout);
	}
	for (int i = 1; i < nways; i++)
		if (ways[i].rows != ways[0].rows || ways[i].sum != ways[0].sum)
			fail("the walks brought different rows", NULL);
	for (int i = 0; i < nways; i++)
	{
		PQfinish(ways[i].conn);
		free(ways[i].after);
	}
	return 0;
}
