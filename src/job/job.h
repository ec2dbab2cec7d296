/*
 * job.h
 *		Jobs: a relation, a statement for its chunks, and how to go about it.
 *
 * Knows the rows of ledger_jobs; nothing of chunks or of running.
 */
#ifndef PG_CHUNKED_JOB_H
#define PG_CHUNKED_JOB_H

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "job/ledger.h"
#include "walk/filter.h"

/*
 * The options of create_job() and run(), and those of alter_job(), which takes the
 * second group only.  NULL, or 0 for a number: not given; alter_job() leaves it as
 * it is.
 */
typedef struct JobOptions
{
	/* for good */
	Oid			relid;
	char	   *statement;
	char	   *name;
	char	   *key;
	Filter	   *filter;
	Jsonb	   *after;			/* the job's range of positions */
	Jsonb	   *upto;
	char	   *settings;		/* names of those to keep */
	bool		foreign_writes; /* at least once is enough for foreign tables */

	/* may be changed */
	int64		chunk_size;
	Interval   *target_time;	/* alter_job(): '0' turns it off */
	Interval   *pause;
	Interval   *max_lag;		/* alter_job(): '0' turns it off */
	char	   *throttle;		/* alter_job(): '' turns it off */
	int			max_attempts;
	char	   *on_error;
	bool	   *check_plan;
	Oid			owner;
} JobOptions;

/*
 * How a job's key is called now; known once its relation is locked
 * (job_scope_open_walk()).  The ledger has positions by the names of then.
 */
typedef struct JobNames
{
	char	   *key;			/* NULL: not known yet */
	List	   *then;			/* of all of its columns (char *) */
	List	   *now;
} JobNames;

typedef struct Job
{
	/* fixed */
	int64		id;
	char	   *name;
	Oid			owner;
	Oid			relid;
	char	   *statement;		/* NULL: done by workers outside the server */
	char	   *key_then;		/* all columns, by their names at its creation */
	ArrayType  *key_columns;	/* the columns themselves: references, as bigint[] */
	JobNames   *names;
	Filter	   *filter;			/* or NULL */
	char	   *search_path;	/* by which names in its texts are found */
	ArrayType  *settings;		/* name, value, ...: in force while they are */
	char	   *key_described;	/* key_describe(), at its creation */
	Jsonb	   *high_water;		/* as the ledger has it; NULL: no rows */
	int64		total_rows;		/* estimate */

	/* settings that may change between chunks; times in ms, 0: none */
	int64		chunk_size;
	double		target_time;
	double		pause;
	double		max_lag;
	char	   *throttle;		/* or NULL */
	int			max_attempts;
	bool		stop_on_error;
	bool		check_plan;
	bool		foreign_writes;

	/* state */
	bool		paused;
	bool		cancelled;
	bool		stopped;		/* by a chunk that failed */
	char	   *waiting;		/* or NULL */
	TimestampTz turns_until;	/* one chunk at a time till then; 0: any time past */
	int64		turns_ms;		/* for how long, the last time */
} Job;

/* reading */
extern Job *job_by_name(const char *name);
extern Job *job_by_name_to_change(const char *name);
extern Job *job_by_id(int64 id);
extern bool job_name_is_taken(const char *name, Oid owner);
extern int64 job_last_number(const char *prefix, Oid owner);
extern Datum job_ids_like(const JobOptions *options, Oid owner);
extern void job_ids_older_than(const Interval *interval, Oid owner, Datum *ids, Datum *cancelled);
extern bool job_error(int64 id, LedgerError *error);

/* checks */
extern void job_require_owner(const Job *job);
extern void job_require_not_cancelled(const Job *job);
extern void job_require_runnable(const Job *job);
extern void job_require_statement(const Job *job);
extern void job_require_not_running_here(const Job *job);

/* changing */
extern Job *job_insert(const JobOptions *options, const Job *fixed, MemoryContext context);
extern void job_alter(const Job *job, const JobOptions *options);
extern void job_delete(int64 id);
extern void job_set_paused(const Job *job, bool paused);
extern void job_set_cancelled(const Job *job);
extern void job_set_runnable(const Job *job);
extern void job_set_waiting(const Job *job, const char *reason);
extern void job_set_stopped(const Job *job, const LedgerError *error);
extern void job_set_not_stopped(const Job *job);
extern void job_set_turns(const Job *job);
extern void job_set_error(int64 id, const LedgerError *error);

extern double job_interval_ms(const Interval *interval);

#endif							/* PG_CHUNKED_JOB_H */
