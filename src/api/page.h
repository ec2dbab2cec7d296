/*
 * page.h
 *		A call of page(), from its arguments to its rows.
 */
#ifndef PG_CHUNKED_PAGE_H
#define PG_CHUNKED_PAGE_H

#include "fmgr.h"
#include "walk/walk_read.h"

/* The arguments of page() */
enum
{
	PAGE_RELATION,
	PAGE_SIZE,
	PAGE_AFTER,
	PAGE_UPTO,
	PAGE_BEFORE,
	PAGE_KEY,
	PAGE_FILTER,
	PAGE_ARGS,
	PAGE_MAX_BYTES,
	PAGE_NARGS
};

/* What a call reads */
typedef struct PageRead
{
	Relation	rel;
	Walk	   *walk;
	Range		range;
	WalkReader	reader;
} PageRead;

extern Datum chunked_page(PG_FUNCTION_ARGS);
extern void page_open_relation(PageRead *page, FunctionCallInfo fcinfo);
extern void page_begin(PageRead *page, FunctionCallInfo fcinfo);

#endif							/* PG_CHUNKED_PAGE_H */
