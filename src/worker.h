/*
 * worker.h
 *		Background workers for a job.
 */
#ifndef PG_CHUNKED_WORKER_H
#define PG_CHUNKED_WORKER_H

#include "run.h"

extern int	worker_start(int64 id, int nworkers);
extern RunOutcome worker_run(int64 id, int nworkers);

#endif							/* PG_CHUNKED_WORKER_H */
