/*
 * subtransaction.h
 *		Running a step that may fail, without failing oneself.
 */
#ifndef PG_CHUNKED_SUBTRANSACTION_H
#define PG_CHUNKED_SUBTRANSACTION_H

extern ErrorData *subtransaction_run(void (*step) (void *arg), void *arg);
extern ErrorData *subtransaction_try(void (*step) (void *arg), void *arg);

#endif							/* PG_CHUNKED_SUBTRANSACTION_H */
