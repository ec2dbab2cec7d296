/*
 * job_create.h
 *		Creating a job, or showing what it would do.
 */
#ifndef PG_CHUNKED_JOB_CREATE_H
#define PG_CHUNKED_JOB_CREATE_H

#include "job/job.h"

extern Job *job_create(const JobOptions *options);
extern void job_create_dry_run(const JobOptions *options);

#endif							/* PG_CHUNKED_JOB_CREATE_H */
