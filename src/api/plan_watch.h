/*
 * plan_watch.h
 *		Has statements over page() and paginate() analyzed again when their
 *		relation changes.
 */
#ifndef PG_CHUNKED_PLAN_WATCH_H
#define PG_CHUNKED_PLAN_WATCH_H

#include "fmgr.h"

extern void plan_watch(Oid relid, Oid function);
extern void plan_watch_check_name(FunctionCallInfo fcinfo, Oid relid);

#endif							/* PG_CHUNKED_PLAN_WATCH_H */
