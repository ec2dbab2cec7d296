/*
 * key_resolve.h
 *		The key of a walk, from the caller's elements or from the catalog.
 *
 * Knows how the columns of a key are chosen and completed; nothing of what is
 * done with it.
 */
#ifndef PG_CHUNKED_KEY_RESOLVE_H
#define PG_CHUNKED_KEY_RESOLVE_H

#include "key/key.h"

extern WalkKey *key_resolve(Relation rel, const char *text);

#endif							/* PG_CHUNKED_KEY_RESOLVE_H */
