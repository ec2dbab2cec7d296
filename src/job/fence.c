/*
 * fence.c
 *		Numbers of claims, of which none is given out twice.
 *
 * A worker whose claim was undone could else complete another's.  So they come
 * from a sequence, which a rollback does not set back; what is logged of the
 * sequence is flushed before a number is given out, for a crash; the timeline, which
 * every promotion raises, is in the number's upper bits, since a standby may not
 * have got the end of the log.  So fences grow with time.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "commands/sequence.h"
#include "storage/bufmgr.h"

#include "job/fence.h"
#include "job/ledger.h"

/* Bits of a fence for the sequence's number; above it, the timeline, counted from 0 */
#define FENCE_NUMBER_BITS 40

/* A number that no claim has had, nor will have. */
int64
fence_next(void)
{
	Oid			relid = ledger_fences_relid();
	int64		number = nextval_internal(relid, false);
	Relation	sequence;
	Buffer		buffer;
	XLogRecPtr	logged;

	if (number >= INT64CONST(1) << FENCE_NUMBER_BITS)
		elog(ERROR, "out of fences");

	/* numbers are logged some at a time, by whichever backend came first: its log must be safe, too */
	sequence = relation_open(relid, AccessShareLock);
	buffer = ReadBuffer(sequence, 0);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	logged = PageGetLSN(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	relation_close(sequence, AccessShareLock);
	XLogFlush(logged);
	return ((int64) (GetWALInsertionTimeLine() - 1) << FENCE_NUMBER_BITS) | number;
}
