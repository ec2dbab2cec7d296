/*
 * part_plan.h
 *		Planning a query of a partitioned table for one of its partitions alone.
 *
 * Knows queries and plans; nothing of walks, or of which partition is wanted.
 */
#ifndef PG_CHUNKED_PART_PLAN_H
#define PG_CHUNKED_PART_PLAN_H

#include "nodes/params.h"
#include "utils/plancache.h"

extern void part_plan_install(void);
extern CachedPlan *part_plan_get(CachedPlanSource *source, ParamListInfo params, Oid parent, Oid part);
extern bool part_plan_is_under_way(void);

#endif							/* PG_CHUNKED_PART_PLAN_H */
