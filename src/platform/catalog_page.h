/*
 * catalog_page.h
 *		Paging over Catalog's lists, shared by data sets and batches. Private.
 */
#ifndef PE_PLATFORM_CATALOG_PAGE_H
#define PE_PLATFORM_CATALOG_PAGE_H

#include "platform/catalog.h"
#include "platform/json.h"

#define PE_CATALOG_PAGE 100

typedef pe_status (*pe_catalog_row)(void *ctx, const char *id, pe_json *row, pe_error *err);

/* Calls take for each row; query is a path that ends in '?' or '&'. */
pe_status pe_catalog_pages(pe_platform *platform, const char *query, int limit, const char *what,
                           pe_catalog_row take, void *ctx, pe_error *err);

/* One entry of a list, by itself: what the fuzzer and the tests call. */
pe_status pe_catalog_read_dataset(pe_pool *pool, const char *id, pe_json *row, pe_dataset *item,
                                  pe_error *err);
pe_status pe_catalog_read_batch(pe_pool *pool, const char *id, pe_json *row, pe_batch_info *item,
                                pe_error *err);

#endif /* PE_PLATFORM_CATALOG_PAGE_H */
