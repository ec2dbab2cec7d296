/*
 * walk_cursor.h
 *		A read in progress, as those see it who carry it on: walk_read.c, which hands
 *		out the rows; walk_parts.c, which finds the next partition; walk_query.c,
 *		which runs a query.
 */
#ifndef PG_CHUNKED_WALK_CURSOR_H
#define PG_CHUNKED_WALK_CURSOR_H

#include "base/compat.h"
#include "executor/execdesc.h"
#include "key/partition_order.h"
#include "utils/plancache.h"
#include "walk/index_rows.h"
#include "walk/walk_reader.h"

/* Besides the settings that a filter's literals depend on, those that names and policies do */
#define WALK_CURSOR_NSETTINGS (WALK_NSETTINGS + 2)

/* Whose rights are used */
typedef struct WalkRole
{
	Oid			user;
	int			security_context;
	bool		switched;		/* to another for a moment */
} WalkRole;

/* A read in progress: the queries of a range, one after the other */
struct WalkCursor
{
	Walk	   *walk;
	WalkReader *reader;
	MemoryContext context;		/* all of it lives here, and reader->end */
	IndexRows  *rows;			/* they are read without any query; or NULL */
	List	   *queries;		/* RangeQuery, in walk order */
	RangeStyle	style;			/* that they are written in */
	List	   *partitions;		/* that each query puts together, or NIL */
	int			next;			/* query to run, counted in the direction of the read */

	/* if partitions are read one after the other */
	PartitionOrder *order;		/* or NULL */
	Range		range;			/* over all of them */
	bool		one_query;		/* is enough for it, which can be the same of all */
	OrderedPart part;			/* at hand, whose queries the above are */
	MemoryContext part_context; /* where they are; NULL: no partition yet */
	Position   *default_row;	/* of the default partition's last row so far, or NULL */
	MemoryContext default_context;	/* where that is */
	bool		default_waits;	/* that partition was left for others, to come back to it */

	/* what must stay as it was when the first query was run */
	bool		in_one_call;	/* it does, until the read is over */
	bool		begun;
	WalkRole		begun_as;
	char	   *settings[WALK_CURSOR_NSETTINGS];	/* if there may be several queries */

	/* the query that is running, or NULL */
	QueryDesc  *desc;
	MemoryContext query_context;
	CachedPlan *cached;
	ResourceOwner owner;
};

#endif							/* PG_CHUNKED_WALK_CURSOR_H */
