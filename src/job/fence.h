/*
 * fence.h
 *		Numbers of claims, of which none is given out twice.
 */
#ifndef PG_CHUNKED_FENCE_H
#define PG_CHUNKED_FENCE_H

extern int64 fence_next(void);

#endif							/* PG_CHUNKED_FENCE_H */
