/*
 * condition.h
 *		Which form of a chunk's condition the planner estimates right.
 *
 * Knows statistics; nothing of how the forms are written.
 */
#ifndef PG_CHUNKED_CONDITION_H
#define PG_CHUNKED_CONDITION_H

#include "walk/walk.h"

extern RangeStyle condition_style(const Walk *walk, const Range *range, double rows);

#endif							/* PG_CHUNKED_CONDITION_H */
