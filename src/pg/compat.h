/*
 * compat.h
 *		What differs between PostgreSQL 15, 16, 17 and 18, in one place.
 */
#ifndef PE_COMPAT_H
#define PE_COMPAT_H

#include "postgres.h"

#include "miscadmin.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "profenrich needs PostgreSQL 15 or later"
#endif

/* Before 16 modules export by default and the marker is empty. */
#ifndef PGDLLEXPORT
#define PGDLLEXPORT
#endif

/* From 17 on an extension can name its own wait events. */
#if PG_VERSION_NUM >= 170000
#define PE_WAIT_EVENT(name) WaitEventExtensionNew(name)
#else
#define PE_WAIT_EVENT(name) PG_WAIT_EXTENSION
#endif

/* 16 renamed the ownership checks and the ACL check on objects without a shortcut. */
#if PG_VERSION_NUM >= 160000
#define pe_foreign_server_aclcheck(oid, role, mode) object_aclcheck(ForeignServerRelationId, oid, role, mode)
#define pe_namespace_aclcheck(oid, role, mode)      object_aclcheck(NamespaceRelationId, oid, role, mode)
#define pe_relation_ownercheck(oid, role)           object_ownercheck(RelationRelationId, oid, role)
#define pe_foreign_server_ownercheck(oid, role)     object_ownercheck(ForeignServerRelationId, oid, role)
#else
#define pe_foreign_server_aclcheck(oid, role, mode) pg_foreign_server_aclcheck(oid, role, mode)
#define pe_namespace_aclcheck(oid, role, mode)      pg_namespace_aclcheck(oid, role, mode)
#define pe_relation_ownercheck(oid, role)           pg_class_ownercheck(oid, role)
#define pe_foreign_server_ownercheck(oid, role)     pg_foreign_server_ownercheck(oid, role)
#endif

/*
 * Indexes of a table of our own (the includer needs commands/defrem.h): 16 added a
 * count for progress reports. And attribute maps, which from 16 on may skip columns.
 */
#if PG_VERSION_NUM >= 160000
#define pe_define_index(relid, statement)                                                                    \
	DefineIndex(relid, statement, InvalidOid, InvalidOid, InvalidOid, -1, false, true, false, false, true)
#define pe_attribute_map(to, from) build_attrmap_by_name(to, from, false)
#else
#define pe_define_index(relid, statement)                                                                    \
	DefineIndex(relid, statement, InvalidOid, InvalidOid, InvalidOid, false, true, false, false, true)
#define pe_attribute_map(to, from) build_attrmap_by_name(to, from)
#endif

/* 18 asks whether a deferrable primary key will do, and counts index searches. */
#if PG_VERSION_NUM >= 180000
#define pe_primary_key_index(table) RelationGetPrimaryKeyIndex(table, false)
#define pe_index_beginscan(table, index, snapshot, nkeys)                                                    \
	index_beginscan(table, index, snapshot, NULL, nkeys, 0)
#else
#define pe_primary_key_index(table)                       RelationGetPrimaryKeyIndex(table)
#define pe_index_beginscan(table, index, snapshot, nkeys) index_beginscan(table, index, snapshot, nkeys, 0)
#endif

/*
 * Where a relation's files are (the includer needs utils/rel.h): 16 renamed it, and
 * asks that pages be aligned for direct input and output.
 */
#if PG_VERSION_NUM >= 160000
#define pe_relation_locator(relation) ((relation)->rd_locator)
#define PE_PAGE_ALIGNMENT             PG_IO_ALIGN_SIZE
#else
#define pe_relation_locator(relation) ((relation)->rd_node)
#define PE_PAGE_ALIGNMENT             MAXIMUM_ALIGNOF
#endif

/* 17 lets a resource owner track wait event sets. */
#if PG_VERSION_NUM >= 170000
#define pe_create_wait_event_set(context, events) CreateWaitEventSet(NULL, events)
#else
#define pe_create_wait_event_set(context, events) CreateWaitEventSet(context, events)
#endif

/* 17 took the number of a process out of its PGPROC. */
#if PG_VERSION_NUM >= 170000
#define PE_MY_PROC_NUMBER ((int) MyProcNumber)
#else
#define PE_MY_PROC_NUMBER ((int) MyProc->pgprocno)
#endif

#endif /* PE_COMPAT_H */
