/*
 * row_security.h
 *		Do policies decide which rows of a relation the current role sees?
 *
 * Knows whether they do; nothing of which rows those are.
 */
#ifndef PG_CHUNKED_ROW_SECURITY_H
#define PG_CHUNKED_ROW_SECURITY_H

#include "walk/walk.h"

extern bool row_security_applies(const Walk *walk);

#endif							/* PG_CHUNKED_ROW_SECURITY_H */
