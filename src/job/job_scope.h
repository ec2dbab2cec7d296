/*
 * job_scope.h
 *		What the texts of a job are read under, and its relation and key as they
 *		are now.
 */
#ifndef PG_CHUNKED_JOB_SCOPE_H
#define PG_CHUNKED_JOB_SCOPE_H

#include "job/guard.h"
#include "job/job.h"
#include "walk/walk.h"

extern ArrayType *job_scope_settings(const char *names);
extern void job_scope_enter(const Job *job, GuardKind kind, Guard *guard);

/* within it */
extern Walk *job_scope_open_walk(const Job *job, Relation *rel);
extern void job_scope_read_range(const Job *job, const Walk *walk, Jsonb *after, Jsonb *upto,
								 Range *range);
extern void job_scope_require_rows(const Job *job, Walk *walk, Jsonb *after);

/* positions: as the ledger has them, and by the names of now; for a walk that was opened */
extern Jsonb *job_scope_position(const Job *job, Jsonb *kept);
extern Jsonb *job_scope_position_to_keep(const Job *job, Jsonb *position);

#endif							/* PG_CHUNKED_JOB_SCOPE_H */
