/*
 * job_chunk.h
 *		The chunks of a job in the ledger: inserted, claimed, done or failed.
 *
 * Knows the rows of ledger_chunks; nothing of what is done with them.
 */
#ifndef PG_CHUNKED_JOB_CHUNK_H
#define PG_CHUNKED_JOB_CHUNK_H

#include "job/job.h"

typedef struct JobChunk
{
	int64		number;
	Jsonb	   *after;			/* NULL: from the start */
	Jsonb	   *upto;
	int64		row_count;		/* when it was carved */
	int			strikes;		/* failed attempts that count */
	int			attempts;		/* all that failed */
	const char *state;			/* pending, done, failed */
	int64		fence;			/* of the last claim; 0: nobody has touched it */
	TimestampTz lease_until;	/* of a worker outside the server; 0: none */
	bool		leased;			/* until later than now */
	int64		ahead;			/* chunks carved after it, free or not; of a claim */
} JobChunk;

/* What the chunks that are done add up to, of those of some numbers */
typedef struct JobChunkSums
{
	int64		upto;			/* the last of these numbers */
	int64		chunks;
	int64		rows;
	Datum		affected;		/* numeric, good until SPI_finish() */
	int64		retries;
} JobChunkSums;

/*
 * For queries on other tables.  job: its id, in SQL.  By the state twice, since
 * the first condition is that of the index.
 */
#define JOB_CHUNK_EXISTS_PENDING(job) \
	"EXISTS (SELECT FROM chunked.ledger_chunks o WHERE o.job = " job \
	" AND o.state <> 'done' AND o.state = 'pending')"
#define JOB_CHUNK_EXISTS_NOT_DONE(job) \
	"EXISTS (SELECT FROM chunked.ledger_chunks o WHERE o.job = " job " AND o.state <> 'done')"
#define JOB_CHUNK_LAST_FINISHED_AT(job) \
	"(SELECT c.finished_at FROM chunked.ledger_chunks c WHERE c.job = " job \
	" ORDER BY c.number DESC LIMIT 1)"

/* a chunk that this transaction has locked */
extern bool job_chunk_claim(const Job *job, int64 after_number, JobChunk *chunk);
extern bool job_chunk_claim_number(const Job *job, int64 number, JobChunk *chunk);
extern bool job_chunk_lock(const Job *job, int64 number, JobChunk *chunk);
extern void job_chunk_lease(const Job *job, const JobChunk *chunk, const Interval *lease,
							int64 fence);
extern void job_chunk_renew_lease(const Job *job, const JobChunk *chunk, const Interval *lease);
extern void job_chunk_done(const Job *job, const JobChunk *chunk, TimestampTz started,
						   int64 rows_affected);
extern void job_chunk_put_back(const Job *job, const JobChunk *changed, TimestampTz retry_at,
							   const LedgerError *error);
extern void job_chunk_give_up(const Job *job, const JobChunk *changed, Jsonb *key,
							  const LedgerError *error);

/* of a whole job */
extern void job_chunk_insert(const Job *job, const JobChunk *chunk, TimestampTz retry_at);
extern bool job_chunk_has_done(const Job *job);
extern bool job_chunk_has_failed(const Job *job);
extern bool job_chunk_first_failed(const Job *job, int64 *number, char **key, LedgerError *error);
extern bool job_chunk_other_pending(const Job *job, int64 number, bool last, JobChunk *range);
extern char *job_chunk_retry_reason(const Job *job);
extern char *job_chunk_reason_to_wait(int64 number, const char *error);
extern bool job_chunk_sum_done(const Job *job, int64 after_number, int64 upto_number,
							   JobChunkSums *sums);
extern int64 job_chunk_take_back(const Job *job, int64 last_number, Jsonb **after);
extern int64 job_chunk_retry_failed(const Job *job, int64 *lowest);
extern void job_chunk_delete_all(int64 job);

#endif							/* PG_CHUNKED_JOB_CHUNK_H */
