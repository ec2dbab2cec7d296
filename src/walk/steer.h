/*
 * steer.h
 *		Planning the queries of a walk for its index, whatever costs say.
 *
 * Knows paths and plans; nothing of executing them.
 */
#ifndef PG_CHUNKED_STEER_H
#define PG_CHUNKED_STEER_H

#include "key/partition_order.h"
#include "nodes/pathnodes.h"
#include "utils/plancache.h"
#include "walk/walk.h"

extern void steer_install(void);
extern CachedPlan *steer_plan(Walk *walk, const OrderedPart *part, Oid index, bool by_partitions,
							  CachedPlanSource *source);
extern bool steer_is_by_index(const Walk *walk, Oid index, const IndexOptInfo *candidate,
							  Oid relid);

#endif							/* PG_CHUNKED_STEER_H */
