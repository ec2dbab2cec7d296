/*
 * arguments.h
 *		Arguments that several SQL functions take, read and checked alike.
 *
 * Knows the calls' arguments; nothing of what they are for.
 */
#ifndef PG_CHUNKED_ARGUMENTS_H
#define PG_CHUNKED_ARGUMENTS_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "key/position.h"
#include "walk/filter.h"

extern void argument_require(FunctionCallInfo fcinfo, int argno, const char *name, const char *hint);
extern Oid	argument_relation(FunctionCallInfo fcinfo, int argno);
extern Relation argument_open_relation(FunctionCallInfo fcinfo, int argno);
extern Relation argument_open_row_type(FunctionCallInfo fcinfo, int argno);
extern char *argument_key(FunctionCallInfo fcinfo, int argno);
extern Filter *argument_filter(FunctionCallInfo fcinfo, int argno);
extern Jsonb *argument_end(FunctionCallInfo fcinfo, int argno);
extern int64 argument_positive(FunctionCallInfo fcinfo, int argno, const char *name, int example);
extern bool argument_boolean(FunctionCallInfo fcinfo, int argno, const char *name);
extern Position *argument_position(FunctionCallInfo fcinfo, int argno,
								   const WalkKey *key, const char *name);
extern char *argument_alias(FunctionCallInfo fcinfo, int argno);
extern int64 argument_page_number(FunctionCallInfo fcinfo, int argno);
extern bool *argument_warned(FunctionCallInfo fcinfo);
extern char *argument_name(FunctionCallInfo fcinfo, int argno);
extern char *argument_text(FunctionCallInfo fcinfo, int argno);
extern Interval *argument_interval(FunctionCallInfo fcinfo, int argno, const char *name, bool zero);

#endif							/* PG_CHUNKED_ARGUMENTS_H */
