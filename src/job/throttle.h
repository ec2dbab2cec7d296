/*
 * throttle.h
 *		What holds a job up: a standby's lag, or a condition of the user's.
 */
#ifndef PG_CHUNKED_THROTTLE_H
#define PG_CHUNKED_THROTTLE_H

#include "job/job.h"

extern void throttle_check(const char *throttle);
extern void throttle_check_lag_visible(void);
extern char *throttle_reason(const Job *job);

#endif							/* PG_CHUNKED_THROTTLE_H */
