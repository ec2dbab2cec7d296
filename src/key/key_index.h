/*
 * key_index.h
 *		What a relation's indexes say about a key.
 *
 * Knows uniqueness, order and partial indexes; nothing of reading an index.
 */
#ifndef PG_CHUNKED_KEY_INDEX_H
#define PG_CHUNKED_KEY_INDEX_H

#include "key/key.h"

extern List *key_default_columns(Relation rel);
extern void key_match_indexes(Relation rel, WalkKey *key);
extern Oid	key_filter_index(Relation rel, WalkKey *key, List *clauses);
extern Oid	key_index_of_part(Relation part, Oid index);

#endif							/* PG_CHUNKED_KEY_INDEX_H */
