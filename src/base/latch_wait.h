/*
 * latch_wait.h
 *		Sleeping, as a backend should.
 */
#ifndef PG_CHUNKED_LATCH_WAIT_H
#define PG_CHUNKED_LATCH_WAIT_H

extern void latch_wait(long ms);

#endif							/* PG_CHUNKED_LATCH_WAIT_H */
