/*
 * full_scan.h
 *		A plan that would read a large table in full for every chunk.
 *
 * Knows finished plans; nothing of making them.
 */
#ifndef PG_CHUNKED_FULL_SCAN_H
#define PG_CHUNKED_FULL_SCAN_H

#include "walk/walk.h"

/* Reading so many pages again and again is worth an index */
#define LARGE_PAGES 1024

extern void full_scan_refuse(SPIPlanPtr plan, const Walk *walk, double rows, double nchunks);

#endif							/* PG_CHUNKED_FULL_SCAN_H */
