/*
 * job_lock.h
 *		Who is running a job: locks that are given up with the session.
 */
#ifndef PG_CHUNKED_JOB_LOCK_H
#define PG_CHUNKED_JOB_LOCK_H

extern void job_lock_running(int64 id);
extern void job_unlock_running(int64 id);
extern bool job_is_running_here(int64 id);
extern bool job_lock_to_drop(int64 id);
extern void job_lock_turn(int64 id, bool alone);

#endif							/* PG_CHUNKED_JOB_LOCK_H */
