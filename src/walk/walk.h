/*
 * walk.h
 *		A walk: a relation, a key and a filter, with the queries that read it.
 *
 * Kept for the session, and read as often as wanted (walk_read.h).  Knows what
 * the relation promises about the order; nothing of pages or chunks.
 */
#ifndef PG_CHUNKED_WALK_H
#define PG_CHUNKED_WALK_H

#include "executor/spi.h"
#include "lib/ilist.h"
#include "key/range.h"
#include "walk/filter.h"

/* What a read returns of each row */
typedef enum WalkOutput
{
	WALK_ROWS,					/* all columns, at their attribute numbers */
	WALK_KEYS,					/* the key columns */
	WALK_KEYS_UNFILTERED,		/* the key columns, of every row */
	WALK_MATCHES				/* the same, and whether the filter is true */
} WalkOutput;

/* A prepared query of a walk */
typedef struct WalkPlan
{
	uint32		hash;			/* of sql */
	Oid			part;			/* partition that it is planned for, or InvalidOid */
	uint64		used;			/* the higher, the more recently; of one with a part */
	char	   *sql;
	SPIPlanPtr	plan;
} WalkPlan;

/* A partition that was read, one of several that come one after the other */
typedef struct WalkPart
{
	Oid			relid;
	bool		valid;			/* it has not changed since it was looked at */
	Oid			index;			/* its part of the key's index, or InvalidOid */
	uint64		used;			/* the higher, the more recently */
} WalkPart;

/* A walk meets one after the other, and seldom comes back. */
#define WALK_MAX_PARTS 8

typedef struct Walk
{
	/* identity: what the cache finds it by */
	dlist_node	node;
	uint32		hash;
	int			identity_length;
	char	   *identity;

	/* fixed once built */
	MemoryContext context;		/* all of it lives here */
	uint64		serial;			/* never used twice in a session */
	Oid			relid;
	WalkKey    *key;
	RangeStyle	style;
	Oid			filter_index;	/* by which the rows that match the filter are read in order,
								 * or, rather than all, some of those that do not; or InvalidOid */
	bool		inherited;		/* has children that are not partitions */
	bool		redirected;		/* its queries are made to read something else,
								 * of which its indexes say nothing */
	bool		in_order;		/* its partitions come one after the other */
	bool		all_foreign;	/* all partitions are */
	bool		by_partitions;	/* and better read each by itself, since none
								 * comes before another */
	bool		filter_in_partitions;	/* the filter means the same there */
	bool		planned_by_value;	/* plan again for each call's values */
	char	   *relation;		/* quoted and qualified */
	char	   *qualifier;		/* quoted name alone, qualifies columns */
	BoundFilter *filter;		/* or NULL */
	List	   *filter_quals;	/* its clauses, of an AND, about relation number 1 */
	List	   *filter_clauses; /* those of them that are immutable */
	char	   *select_lists[WALK_MATCHES + 1];
	AttrNumber *row_attnums;	/* of the key columns in WALK_ROWS */
	AttrNumber *key_attnums;	/* of the key columns in the others: 1, 2, ... */

	/* changing; of the walk that is kept, of which this may be a copy for one call */
	struct Walk *kept;
	bool		ready;			/* built */
	bool		valid;			/* nothing under it has changed */
	int			pins;			/* calls that are using it */
	int			nplans;
	int			npart_plans;	/* of those, planned for a partition */
	WalkPart	parts[WALK_MAX_PARTS];
	uint64		part_uses;
	WalkPlan   *plans;
} Walk;

/* The settings that literals in a filter depend on */
#define WALK_NSETTINGS 9
extern const char *const walk_settings[WALK_NSETTINGS];

extern Walk *walk_open(Relation rel, const char *key, const Filter *filter);
extern Oid	walk_look_at_part(Walk *walk, Oid relid);
extern SPIPlanPtr walk_prepare(Walk *walk, Oid part, const char *sql, int nargs, Oid *argtypes,
							   bool *kept);
extern WalkOutput walk_all_keys(const Walk *walk);
extern void walk_warn_unsupported(const Walk *walk, Relation rel, bool *warned);

#endif							/* PG_CHUNKED_WALK_H */
