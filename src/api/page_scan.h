/*
 * page_scan.h
 *		page() in FROM as a scan of its own.
 */
#ifndef PG_CHUNKED_PAGE_SCAN_H
#define PG_CHUNKED_PAGE_SCAN_H

extern void page_scan_install(void);

#endif							/* PG_CHUNKED_PAGE_SCAN_H */
