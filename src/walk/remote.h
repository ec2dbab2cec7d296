/*
 * remote.h
 *		What remote servers do by themselves, so that few rows travel.
 *
 * Knows foreign tables and partitions; nothing of walks.
 */
#ifndef PG_CHUNKED_REMOTE_H
#define PG_CHUNKED_REMOTE_H

#include "key/range.h"
#include "walk/filter.h"
#include "utils/relcache.h"

extern bool remote_has_partitions(Relation rel);
extern bool remote_has_all_partitions(Relation rel);
extern bool remote_is_merged(Relation rel, const WalkKey *key);
extern bool remote_takes_filter(Relation rel, const char *filter);
extern List *remote_partitions(Relation rel);
extern int64 remote_count(Relation rel, const RangeQuery *condition, const BoundFilter *filter);

#endif							/* PG_CHUNKED_REMOTE_H */
