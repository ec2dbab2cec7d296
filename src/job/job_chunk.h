/*
 * job_chunk.h
 *		The chunks of a job in the ledger: carved, claimed, done or failed.
 *
 * Knows the ledger's rows about chunks; nothing of what is done with them.
 */
#ifndef PG_CHUNKED_JOB_CHUNK_H
#define PG_CHUNKED_JOB_CHUNK_H

#include "job/job.h"
#include "key/range.h"
#include "walk/walk.h"

/* A chunk that is claimed: its row is locked to the end of the transaction */
typedef struct JobChunk
{
	int64		number;
	Jsonb	   *after;			/* NULL: from the start */
	Jsonb	   *upto;
	int64		row_count;		/* when it was carved */
	int			strikes;		/* failed attempts that count */
	int			attempts;		/* all that failed */
	int64		fence;
	bool		lease_lost;		/* its last worker's lease ran out */
	int64		ahead;			/* chunks carved behind it, free or not */
} JobChunk;

/*
 * With fewer chunks ahead than this, more are to be carved, so that nobody has
 * to wait for that.
 */
#define JOB_CARVE_AHEAD 64

typedef enum JobCarving
{
	CARVED,						/* there are more pending chunks now */
	CARVED_ALL,					/* there is nothing left to carve */
	CARVING_BUSY				/* another is at it */
} JobCarving;

/* Why an attempt failed */
typedef enum JobFailureCause
{
	FAILED_ROWS,				/* something in its rows: divide it when its attempts are used up */
	FAILED_BLOCKED,				/* others at work: try again, on less, for ever */
	FAILED_SLOW					/* more than can be done in time: divide it at once */
} JobFailureCause;

typedef struct JobFailure
{
	JobFailureCause cause;
	const char *sqlstate;
	const char *message;
	const char *detail;			/* or NULL */
	const char *hint;			/* or NULL */
} JobFailure;

extern void job_start_carving(const Job *job, Jsonb *after);
extern JobCarving job_carve(const Job *job, double rate, bool wait);
extern void job_lock_carving(const Job *job);
extern void job_fold(const Job *job, bool over);
extern void job_resize_chunks(const Job *job, int64 chunk_size);
extern double job_carving_rate(const Job *job);
extern bool job_claim(const Job *job, int64 behind, JobChunk *chunk);
extern bool job_claim_number(const Job *job, int64 number, JobChunk *chunk);
extern bool job_other_pending(const Job *job, int64 number, bool last, JobChunk *range);
extern char *job_retry_reason(const Job *job);
extern bool job_is_over(const Job *job);
extern bool job_has_done(const Job *job);
extern bool job_others_in_the_way(int sqlerrcode);
extern Walk *job_walk_open(const Job *job, Relation *rel);
extern void job_require_rows_shown(const Job *job, Walk *walk, Jsonb *after);
extern void job_read_range(const Job *job, const JobChunk *chunk, const Walk *walk, Range *range);
extern void job_chunk_done(const Job *job, const JobChunk *chunk, TimestampTz started,
						   int64 rows_affected);
extern bool job_chunk_failed(const Job *job, const JobChunk *chunk, const JobFailure *failure);

#endif							/* PG_CHUNKED_JOB_CHUNK_H */
