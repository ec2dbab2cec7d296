/*
 * job.h
 *		Jobs: a relation, a statement for its chunks, and how to go about it.
 *
 * Knows the ledger's rows about jobs; nothing of chunks or of running.
 */
#ifndef PG_CHUNKED_JOB_H
#define PG_CHUNKED_JOB_H

#include "fmgr.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "job/guard.h"

/* The arguments of create_job() and run(); NULL where they say null */
typedef struct JobOptions
{
	Oid			relid;
	char	   *statement;
	char	   *name;
	int64		chunk_size;
	ArrayType  *key;
	text	   *filter;
	Interval   *target_time;
	Interval   *pause;			/* never null */
	Interval   *max_lag;
	char	   *throttle;
	int			max_attempts;
	char	   *on_error;
	bool		check_plan;
	Jsonb	   *after;			/* the job's range of positions */
	Jsonb	   *upto;
	char	   *settings;		/* names of those to keep */
	bool		foreign_writes; /* at least once is enough for foreign tables */
} JobOptions;

/*
 * How a job's key is called now; known once its relation is locked (job_walk_open()).
 * The ledger has positions by the names of then.
 */
typedef struct JobNames
{
	ArrayType  *key;			/* NULL: not known yet */
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
	ArrayType  *key_then;		/* all columns, by their names at its creation */
	ArrayType  *key_columns;	/* the columns themselves */
	JobNames   *names;
	text	   *filter;			/* or NULL */
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

/* job_create.c */
extern void job_read_options(FunctionCallInfo fcinfo, int argno, JobOptions *options);
extern char *job_create(const JobOptions *options);
extern void job_dry_run(const JobOptions *options);

/* job.c */
extern char *job_argument_name(FunctionCallInfo fcinfo, int argno);
extern Job *job_by_name(const char *name);
extern Job *job_by_id(int64 id);
extern bool job_name_is_taken(const char *name, Oid owner);
extern void job_require_runnable(const Job *job);
extern void job_require_owner(const Job *job);
extern void job_require_statement(const Job *job);
extern void job_find_names(const Job *job);
extern Jsonb *job_position(const Job *job, Jsonb *kept);
extern Jsonb *job_position_to_keep(const Job *job, Jsonb *position);
extern double job_interval_ms(const Interval *interval);
extern void job_check_interval(const Interval *interval, const char *name, bool zero);
extern void job_check_target_time(const char *statement);
extern void job_check_on_error(const char *on_error);
extern void job_set_runnable(const Job *job);
extern void job_set_waiting(const Job *job, const char *reason);
extern void job_set_stopped(const Job *job, const char *sqlstate, const char *message, const char *detail,
							const char *hint);
extern void job_set_turns(const Job *job);
extern void job_set_error(int64 id, const ErrorData *error);
extern ErrorData *job_error(int64 id);
extern void job_lock(int64 id);
extern void job_unlock(int64 id);
extern void job_take_turn(const Job *job);
extern Datum job_settings_to_keep(const char *names);
extern bool job_parse_foreign_writes(const char *on_foreign_write);
extern void job_enter(const Job *job, GuardKind kind, Guard *guard);

#endif							/* PG_CHUNKED_JOB_H */
