/*
 * pin.c
 *		Counting who uses something that is kept, until they are done with it.
 */
#include "postgres.h"

#include "base/pin.h"

static void unpin(void *pins);

/*
 * Add to a count until the current memory context is reset: with SPI connected,
 * until SPI_finish() or an error.
 */
void
pin_until_reset(int *pins)
{
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	callback->func = unpin;
	callback->arg = pins;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	(*pins)++;
}

static void
unpin(void *pins)
{
	(*(int *) pins)--;
}
