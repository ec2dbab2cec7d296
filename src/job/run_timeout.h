/*
 * run_timeout.h
 *		statement_timeout for the execution of a job's statement on a chunk.
 */
#ifndef PG_CHUNKED_RUN_TIMEOUT_H
#define PG_CHUNKED_RUN_TIMEOUT_H

typedef enum RunTimeout
{
	TIMEOUT_NOT_FIRED,
	TIMEOUT_FIRED,
	TIMEOUT_FIRED_BLOCKED		/* while the statement waited for a lock */
} RunTimeout;

extern void run_timeout_within(void (*execute) (void *arg), void *arg);
extern void run_timeout_start(void);
extern void run_timeout_stop(void);
extern RunTimeout run_timeout_last(void);
extern void run_timeout_forget(void);

#endif							/* PG_CHUNKED_RUN_TIMEOUT_H */
