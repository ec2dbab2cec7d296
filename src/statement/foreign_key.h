/*
 * foreign_key.h
 *		Foreign keys whose check reads a large table for every row.
 *
 * Knows constraints and their triggers; nothing of statements.
 */
#ifndef PG_CHUNKED_FOREIGN_KEY_H
#define PG_CHUNKED_FOREIGN_KEY_H

#include "nodes/bitmapset.h"

extern void foreign_key_warn(Oid relid, bool deletes, Bitmapset *updated);

#endif							/* PG_CHUNKED_FOREIGN_KEY_H */
