/*
 * pin.h
 *		Counting who uses something that is kept, until they are done with it.
 *
 * Knows memory contexts; nothing of what is counted for.
 */
#ifndef PG_CHUNKED_PIN_H
#define PG_CHUNKED_PIN_H

extern void pin_until_reset(int *pins);

#endif							/* PG_CHUNKED_PIN_H */
