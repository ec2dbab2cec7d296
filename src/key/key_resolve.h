/*
 * key_resolve.h
 *		The key of a walk, from the caller's elements or from the catalog.
 */
#ifndef PG_CHUNKED_KEY_RESOLVE_H
#define PG_CHUNKED_KEY_RESOLVE_H

#include "key/key.h"

extern WalkKey *key_resolve(Relation rel, ArrayType *elements);

#endif							/* PG_CHUNKED_KEY_RESOLVE_H */
