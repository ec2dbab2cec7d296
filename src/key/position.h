/*
 * position.h
 *		A place in the order of a walk: a value for every key column.
 *
 * Knows the jsonb form of a position and how two compare; nothing of ranges or
 * of the rows that it came from, which may be gone.
 */
#ifndef PG_CHUNKED_POSITION_H
#define PG_CHUNKED_POSITION_H

#include "executor/tuptable.h"
#include "key/key.h"
#include "utils/jsonb.h"

/* One entry for each key column, in key order; palloc'd in one piece, values apart. */
typedef struct Position
{
	Datum	   *values;
	bool	   *nulls;
	char	  **texts;			/* text forms, made by position_texts(); or NULL */
	char	  **literals;		/* as SQL, made by position_literals(); or NULL */
} Position;

extern Position *position_read(const WalkKey *key, Jsonb *json, const char *argument);
extern char *position_for_message(Jsonb *json);
extern Jsonb *position_write(const WalkKey *key, Position *position);
extern char **position_literals(const WalkKey *key, Position *position);
extern char **position_texts(const WalkKey *key, Position *position);
extern Position *position_make(const WalkKey *key);
extern Position *position_copy(const WalkKey *key, const Position *position);
extern void position_set(Position *position, const KeyColumn *column, int i,
						 Datum value, bool isnull);
extern void position_copy_slot(const WalkKey *key, Position *position,
							   TupleTableSlot *slot, const AttrNumber *attnums);
extern int	position_compare(const WalkKey *key, const Position *a, const Position *b);
extern int	position_common_prefix(const WalkKey *key, const Position *a, const Position *b);

#endif							/* PG_CHUNKED_POSITION_H */
