/*
 * settings.h
 *		The settings pg_chunked.*, and giving settings other values for a while.
 */
#ifndef PG_CHUNKED_SETTINGS_H
#define PG_CHUNKED_SETTINGS_H

extern bool settings_native;	/* pg_chunked.native: read btree pages directly
								 * where that is sound */
extern int	settings_progress_interval; /* pg_chunked.progress_interval: ms
								 * between the notices of run(); 0: none */

extern void settings_define(void);
extern int	settings_begin(const char *const (*settings)[2], int nsettings);
extern void settings_end(int nest_level);

#endif							/* PG_CHUNKED_SETTINGS_H */
