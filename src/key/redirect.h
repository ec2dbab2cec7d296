/*
 * redirect.h
 *		Whether a query of a relation reads that relation's own storage.
 *
 * Knows hooks and plans; nothing of what is read.
 */
#ifndef PG_CHUNKED_REDIRECT_H
#define PG_CHUNKED_REDIRECT_H

#include "executor/spi.h"
#include "key/key.h"

extern void redirect_before_hooks(void);
extern void redirect_after_hooks(void);
extern uint64 redirect_generation(void);
extern bool redirect_is_possible(Relation rel);
extern bool redirect_of_walk(Relation rel, const WalkKey *key);
extern bool redirect_of_direct_read(Relation rel, const WalkKey *key);
extern bool redirect_of_count(Relation rel);
extern bool redirect_of_blocks(Relation rel);
extern bool redirect_of_plan(SPIPlanPtr plan);

#endif							/* PG_CHUNKED_REDIRECT_H */
