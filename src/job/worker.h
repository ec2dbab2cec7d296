/*
 * worker.h
 *		Background workers for a job.
 */
#ifndef PG_CHUNKED_WORKER_H
#define PG_CHUNKED_WORKER_H

#include "job/run.h"

extern int	worker_start(const Job *job, int nworkers);
extern RunOutcome worker_run(const Job *job, int nworkers);

#endif							/* PG_CHUNKED_WORKER_H */
