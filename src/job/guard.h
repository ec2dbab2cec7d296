/*
 * guard.h
 *		Whose rights the code in a job has, and that it cannot take others.
 */
#ifndef PG_CHUNKED_GUARD_H
#define PG_CHUNKED_GUARD_H

typedef enum GuardKind
{
	GUARD_STATEMENT,			/* may do what its role may, but become another */
	GUARD_CONDITION				/* nor leave anything to be run later */
} GuardKind;

/* What was in force outside */
typedef struct Guard
{
	Oid			user;
	int			security;
	int			nest_level;		/* of settings; 0: left alone */
} Guard;

extern void guard_enter(GuardKind kind, Guard *guard);
extern void guard_leave(const Guard *guard);
extern void guard_until_commit(void);
extern void guard_require_session(const char *job, Oid owner);
extern void guard_require_worker(const char *job, Oid owner);
extern void guard_install(void);

#endif							/* PG_CHUNKED_GUARD_H */
