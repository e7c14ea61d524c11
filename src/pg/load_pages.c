/*
 * load_pages.c
 *		Pages of a new heap, formed in private memory.
 *
 * A multi-insert finds a buffer for every page, extends the file by an empty one,
 * logs the rows, and writes the page when the ring of buffers comes round. Nobody
 * can see the pages of a table that this transaction has made, so they can be formed
 * here, and the file be extended by what is ready.
 *
 * An image is logged before its page is written. A checkpoint that began between the
 * two would let recovery start behind the image without having the page on disk;
 * therefore, if one began meanwhile, the file is synced at the end. Without one,
 * the next checkpoint does it, as it was told of every page.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/tupmacs.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "catalog/catalog.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/smgr.h"
#include "utils/memutils.h"

#include "pg/compat.h"
#include "pg/load_pages.h"

/* As many as one WAL record takes. */
#define PAGES_AT_ONCE XLR_MAX_BLOCK_ID

/* What forming a value needs of its column. */
typedef struct FormedColumn
{
	int length; /* as pg_attribute.attlen */
	int alignment;
	bool by_value;
	bool packed; /* a short value takes a header of one byte */
} FormedColumn;

struct LoadPages
{
	MemoryContext context;
	Relation rel;
	TransactionId xid;
	CommandId command;
	Size reserved;   /* bytes of a page that the fillfactor keeps free */
	XLogRecPtr redo; /* where recovery would have begun when the first page was formed */
	FormedColumn *columns;
	HeapTupleHeader row; /* the row being formed; zero between rows */
	int begun;           /* pages with rows; the last of them takes the next row */
	BlockNumber blocks[PAGES_AT_ONCE];
	char *pages[PAGES_AT_ONCE];
};

bool
load_pages_usable(Relation rel)
{
	return rel->rd_createSubid != InvalidSubTransactionId && rel->rd_tableam == GetHeapamTableAmRoutine() &&
	       !RelationIsLogicallyLogged(rel);
}

static int
alignment_of(char attalign)
{
	switch (attalign)
	{
		case TYPALIGN_CHAR:
			return 1;
		case TYPALIGN_SHORT:
			return ALIGNOF_SHORT;
		case TYPALIGN_INT:
			return ALIGNOF_INT;
		default:
			return ALIGNOF_DOUBLE;
	}
}

static FormedColumn *
describe_columns(TupleDesc desc)
{
	FormedColumn *columns = palloc(sizeof(FormedColumn) * desc->natts);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		columns[i].length = attr->attlen;
		columns[i].alignment = alignment_of(attr->attalign);
		columns[i].by_value = attr->attbyval;
		columns[i].packed = attr->attlen == -1 && attr->attstorage != TYPSTORAGE_PLAIN;
	}
	return columns;
}

LoadPages *
load_pages_open(Relation rel, CommandId command)
{
	MemoryContext context =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich load pages", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	LoadPages *pages = palloc0(sizeof(LoadPages));
	BlockNumber first = RelationGetNumberOfBlocks(rel);
	char *memory = (char *) TYPEALIGN(PE_PAGE_ALIGNMENT, palloc(PAGES_AT_ONCE * BLCKSZ + PE_PAGE_ALIGNMENT));

	pages->context = context;
	pages->rel = rel;
	pages->xid = GetCurrentTransactionId();
	pages->command = command;
	pages->reserved = RelationGetTargetPageFreeSpace(rel, HEAP_DEFAULT_FILLFACTOR);
	pages->redo = GetRedoRecPtr();
	pages->columns = describe_columns(RelationGetDescr(rel));
	pages->row = palloc0(BLCKSZ);
	for (int i = 0; i < PAGES_AT_ONCE; i++)
	{
		pages->blocks[i] = first + i;
		pages->pages[i] = memory + (Size) i * BLCKSZ;
	}
	MemoryContextSwitchTo(caller);
	return pages;
}

static void
write_out(LoadPages *pages)
{
	if (pages->begun == 0)
		return;
	if (RelationNeedsWAL(pages->rel))
		log_newpages(&pe_relation_locator(pages->rel), MAIN_FORKNUM, pages->begun, pages->blocks,
		             pages->pages, true);
	for (int i = 0; i < pages->begun; i++)
	{
		PageSetChecksumInplace(pages->pages[i], pages->blocks[i]);
		smgrextend(RelationGetSmgr(pages->rel), MAIN_FORKNUM, pages->blocks[i], pages->pages[i], false);
	}
	for (int i = 0; i < PAGES_AT_ONCE; i++)
		pages->blocks[i] += pages->begun;
	pages->begun = 0;
}

/* The page that has room for a row of length bytes. */
static Page
page_for(LoadPages *pages, Size length)
{
	Page page;

	if (pages->begun > 0)
	{
		page = pages->pages[pages->begun - 1];
		if (PageGetHeapFreeSpace(page) >= MAXALIGN(length) + pages->reserved)
			return page;
		if (pages->begun == PAGES_AT_ONCE)
			write_out(pages);
	}
	page = pages->pages[pages->begun++];
	PageInit(page, BLCKSZ, 0);
	return page;
}

/* Puts a formed row on a page, as one that this transaction has inserted. */
static void
place_row(LoadPages *pages, HeapTupleHeader row, Size length)
{
	Page page = page_for(pages, length);
	PageHeader header = (PageHeader) page;
	OffsetNumber offset = OffsetNumberNext(PageGetMaxOffsetNumber(page));

	row->t_infomask &= ~HEAP_XACT_MASK;
	row->t_infomask2 &= ~HEAP2_XACT_MASK;
	row->t_infomask |= HEAP_XMAX_INVALID;
	HeapTupleHeaderSetXmin(row, pages->xid);
	HeapTupleHeaderSetCmin(row, pages->command);
	HeapTupleHeaderSetXmax(row, InvalidTransactionId);
	ItemPointerSet(&row->t_ctid, pages->blocks[pages->begun - 1], offset);
	header->pd_upper -= MAXALIGN(length);
	header->pd_lower += sizeof(ItemIdData);
	ItemIdSetNormal(PageGetItemId(page, offset), header->pd_upper, length);
	memcpy(page + header->pd_upper, row, length);
}

/* Any row, by the server's own functions: values may be compressed, or moved out of line. */
static void
add_by_server(LoadPages *pages, TupleTableSlot *slot)
{
	HeapTuple tuple = heap_form_tuple(slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);

	tuple->t_tableOid = RelationGetRelid(pages->rel);
	if (HeapTupleHasExternal(tuple) || tuple->t_len > TOAST_TUPLE_THRESHOLD)
		tuple = heap_toast_insert_or_update(pages->rel, tuple, NULL, HEAP_INSERT_SKIP_FSM);
	if (tuple->t_len > MaxHeapTupleSize)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		                errmsg("row is too big: size %zu, maximum size %zu", (Size) tuple->t_len,
		                       (Size) MaxHeapTupleSize)));
	place_row(pages, tuple->t_data, tuple->t_len);
}

/*
 * A text or the like at to, which is zero up to end, in the form that a heap keeps it
 * in; what follows it, or NULL if it is no plain one or does not fit.
 */
static char *
form_varlena(const FormedColumn *column, Datum value, char *to, const char *end)
{
	Pointer from = DatumGetPointer(value);
	Size length;

	if (VARATT_IS_EXTERNAL(from))
		return NULL;
	if (VARATT_IS_SHORT(from))
		length = VARSIZE_SHORT(from);
	else if (!VARATT_IS_4B_U(from))
		return NULL;
	else if (column->packed && VARATT_CAN_MAKE_SHORT(from))
	{
		length = VARATT_CONVERTED_SHORT_SIZE(from);
		if (length > (Size) (end - to))
			return NULL;
		SET_VARSIZE_SHORT(to, length);
		memcpy(to + 1, VARDATA(from), length - 1);
		return to + length;
	}
	else
	{
		to = (char *) TYPEALIGN(column->alignment, to);
		length = VARSIZE(from);
	}
	if (to > end || length > (Size) (end - to))
		return NULL;
	memcpy(to, from, length);
	return to + length;
}

/* As form_varlena, for any column. */
static char *
form_value(const FormedColumn *column, Datum value, char *to, const char *end)
{
	if (column->length == -1)
		return form_varlena(column, value, to, end);
	if (column->length < 0)
		return NULL;
	to = (char *) TYPEALIGN(column->alignment, to);
	if (to + column->length > end)
		return NULL;
	if (!column->by_value)
		memcpy(to, DatumGetPointer(value), column->length);
	else
		store_att_byval(to, value, column->length);
	return to + column->length;
}

/*
 * The row of a slot in pages->row, which is zero. The same bytes as heap_form_tuple's,
 * in one pass; its length, or 0 where that is a matter for the server.
 */
static Size
form_row(LoadPages *pages, TupleTableSlot *slot)
{
	HeapTupleHeader row = pages->row;
	int natts = slot->tts_tupleDescriptor->natts;
	bool nulls = memchr(slot->tts_isnull, true, natts) != NULL;
	const char *end = (char *) row + TOAST_TUPLE_THRESHOLD;
	char *to;

	row->t_hoff = MAXALIGN(SizeofHeapTupleHeader + (nulls ? BITMAPLEN(natts) : 0));
	row->t_infomask = nulls ? HEAP_HASNULL : 0;
	HeapTupleHeaderSetNatts(row, natts);
	to = (char *) row + row->t_hoff;
	for (int i = 0; i < natts; i++)
	{
		if (slot->tts_isnull[i])
			continue;
		if (nulls)
			row->t_bits[i / 8] |= 1 << i % 8;
		if (pages->columns[i].length < 0)
			row->t_infomask |= HEAP_HASVARWIDTH;
		to = form_value(&pages->columns[i], slot->tts_values[i], to, end);
		if (to == NULL)
			return 0;
	}
	return to - (char *) row;
}

static void
add_row(LoadPages *pages, TupleTableSlot *slot)
{
	Size length = form_row(pages, slot);

	if (length > 0)
		place_row(pages, pages->row, length);
	else
		add_by_server(pages, slot);
	memset(pages->row, 0, length > 0 ? length : TOAST_TUPLE_THRESHOLD);
}

void
load_pages_add(LoadPages *pages, TupleTableSlot *const *slots, int count)
{
	for (int i = 0; i < count; i++)
		add_row(pages, slots[i]);
	pgstat_count_heap_insert(pages->rel, count);
}

void
load_pages_close(LoadPages *pages)
{
	write_out(pages);
	if (RelationNeedsWAL(pages->rel) && GetRedoRecPtr() != pages->redo)
		smgrimmedsync(RelationGetSmgr(pages->rel), MAIN_FORKNUM);
	MemoryContextDelete(pages->context);
}
