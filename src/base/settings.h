/*
 * settings.h
 *		The settings pg_chunked.*, defined in pg_chunked.c.
 */
#ifndef PG_CHUNKED_SETTINGS_H
#define PG_CHUNKED_SETTINGS_H

extern bool settings_native;	/* pg_chunked.native: read btree pages directly
								 * where that is sound */
extern int	settings_progress_interval; /* pg_chunked.progress_interval: ms
								 * between the notices of run(); 0: none */

#endif							/* PG_CHUNKED_SETTINGS_H */
