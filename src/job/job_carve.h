/*
 * job_carve.h
 *		How far a job is: boundaries carved ahead of the work, and sums of what is
 *		done.
 *
 * Knows the rows of ledger_carving, and by them and the chunks whether a job is
 * over.
 */
#ifndef PG_CHUNKED_JOB_CARVE_H
#define PG_CHUNKED_JOB_CARVE_H

#include "job/job_chunk.h"

/*
 * With fewer chunks ahead than this, more are to be carved, so that nobody has
 * to wait for that.
 */
#define JOB_CARVE_AHEAD 64

typedef enum JobCarving
{
	CARVED,						/* there are more pending chunks now */
	CARVED_ALL,					/* there is nothing left to carve */
	CARVING_BUSY				/* another is working on it */
} JobCarving;

extern void job_carve_begin(const Job *job, Jsonb *after);
extern JobCarving job_carve(const Job *job, double rate, bool wait);
extern double job_carve_rate(const Job *job);
extern void job_carve_resize(const Job *job, int64 chunk_size);
extern int64 job_carve_next_number(const Job *job);
extern void job_carve_fold(const Job *job, bool over);
extern int64 job_carve_retry_failed(const Job *job);
extern void job_carve_delete(int64 job);

extern bool job_is_over(const Job *job);
extern bool job_has_done(const Job *job);
extern bool job_other_pending(const Job *job, int64 number, bool last, JobChunk *range);
extern int64 job_last_not_over(Datum ids);
extern int64 *job_ids_over(Datum ids, Datum cancelled, const Interval *interval, uint64 *njobs);

#endif							/* PG_CHUNKED_JOB_CARVE_H */
