/*
 * test_encoding.c
 *		Thrift, levels, runs, deltas and text checks on bytes made by hand.
 */
#include "tap.h"

#include "snapshot/budget.h"
#include "snapshot/buffer.h"
#include "snapshot/codec.h"
#include "snapshot/encoding.h"
#include "snapshot/metadata.h"
#include "snapshot/text.h"
#include "snapshot/thrift.h"
#include "snapshot/value.h"

/* Page bytes with the padding that decoders rely on. */
typedef struct padded
{
	uint8_t bytes[256];
} padded;

static padded
pad(const void *bytes, size_t length)
{
	padded out = {{0}};

	memcpy(out.bytes, bytes, length);
	return out;
}

static void
test_thrift(void)
{
	/* {1: i32 -3, 2: true, 4: "ab", 20: list of 2 structs {1: i64 300}, 21: map} */
	const uint8_t bytes[] = {0x15, 0x05, 0x11, 0x28, 0x02, 'a',  'b',  0x09, 0x28, 0x2c, 0x16, 0xd8,
	                         0x04, 0x00, 0x16, 0x02, 0x00, 0x1b, 0x01, 0x85, 0x01, 'k',  0x07, 0x00};
	pe_thrift in;
	pe_thrift_struct field;
	size_t length;
	int seen = 0;

	pe_thrift_init(&in, bytes, sizeof(bytes));
	field = pe_thrift_begin(&in);
	while (pe_thrift_next(&in, &field))
	{
		seen++;
		if (field.id == 1)
			IS_INT(pe_thrift_int32(&in, &field), -3, "zigzag i32");
		else if (field.id == 2)
			OK(pe_thrift_bool(&in, &field), "true is in the header");
		else if (field.id == 4)
		{
			const uint8_t *text = pe_thrift_binary(&in, &field, &length);

			OK(length == 2 && memcmp(text, "ab", 2) == 0, "binary");
		}
		else if (field.id == 20)
		{
			IS_INT(pe_thrift_struct_list(&in, &field), 2, "list of two");
			for (int i = 0; i < 2; i++)
			{
				pe_thrift_struct inner = pe_thrift_begin(&in);

				while (pe_thrift_next(&in, &inner))
					IS_INT(pe_thrift_int(&in, &inner), i == 0 ? 300 : 1, "element %d", i);
			}
			pe_thrift_list_end(&in);
		}
		else
			pe_thrift_skip(&in, &field);
	}
	OK(!in.failed, "parses to the end");
	IS_INT(seen, 5, "five fields");
	for (size_t cut = 0; cut < sizeof(bytes); cut++)
	{
		pe_thrift_init(&in, bytes, cut);
		field = pe_thrift_begin(&in);
		while (pe_thrift_next(&in, &field))
			pe_thrift_skip(&in, &field);
		if (!in.failed || !in.ended)
			break;
		if (cut == sizeof(bytes) - 1)
			OK(true, "every prefix fails, and says that it ended");
	}
}

static void
test_thrift_bounds(void)
{
	uint8_t deep[200000];
	const uint8_t huge_list[] = {0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f};
	const uint8_t huge_text[] = {0x18, 0xff, 0xff, 0xff, 0xff, 0x0f, 'a'};
	const uint8_t endless[] = {0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	pe_thrift in;
	pe_thrift_struct field;

	/* Structs in structs, and lists in lists: the skipper must not recurse without end. */
	memset(deep, 0x1c, sizeof(deep));
	pe_thrift_init(&in, deep, sizeof(deep));
	field = pe_thrift_begin(&in);
	if (pe_thrift_next(&in, &field))
		pe_thrift_skip(&in, &field);
	OK(in.failed && !in.ended, "structs nested too deep");
	memset(deep, 0x19, sizeof(deep));
	pe_thrift_init(&in, deep, sizeof(deep));
	field = pe_thrift_begin(&in);
	if (pe_thrift_next(&in, &field))
		pe_thrift_skip(&in, &field);
	OK(in.failed, "lists nested too deep");
	pe_thrift_init(&in, huge_list, sizeof(huge_list));
	field = pe_thrift_begin(&in);
	OK(pe_thrift_next(&in, &field) && pe_thrift_struct_list(&in, &field) == 0 && in.failed,
	   "a list longer than the bytes");
	pe_thrift_init(&in, huge_text, sizeof(huge_text));
	field = pe_thrift_begin(&in);
	if (pe_thrift_next(&in, &field))
		pe_thrift_skip(&in, &field);
	OK(in.failed, "text longer than the bytes");
	pe_thrift_init(&in, endless, sizeof(endless));
	field = pe_thrift_begin(&in);
	OK(pe_thrift_next(&in, &field) && pe_thrift_int(&in, &field) == 0 && in.failed,
	   "an integer of too many bytes");
}

static void
test_runs(void)
{
	/* 8 times 5 as a run, then 8 values 0..7 packed in 3 bits. */
	padded page = pad((const uint8_t[]){0x10, 0x05, 0x03, 0x88, 0xc6, 0xfa}, 6);
	uint8_t levels[16];
	uint32_t indices[16];
	pe_rle rle;
	bool good = true;

	pe_rle_init(&rle, page.bytes, 6, 3);
	OK(pe_rle_levels(&rle, levels, 3) && pe_rle_levels(&rle, levels + 3, 13), "16 levels in two steps");
	for (int i = 0; i < 16; i++)
		good = good && levels[i] == (i < 8 ? 5 : i - 8);
	OK(good, "their values");
	OK(!pe_rle_levels(&rle, levels, 1), "no 17th");
	pe_rle_init(&rle, page.bytes, 6, 3);
	OK(pe_rle_indices(&rle, indices, 16) && indices[15] == 7 && indices[0] == 5, "the same as indices");
	pe_rle_init(&rle, page.bytes, 5, 3);
	OK(!pe_rle_indices(&rle, indices, 16), "cut off");
	page = pad((const uint8_t[]){0x10, 0x09}, 2);
	pe_rle_init(&rle, page.bytes, 2, 3);
	OK(!pe_rle_levels(&rle, levels, 1), "a run's value wider than its width");
	page = pad((const uint8_t[]){0x00, 0x05}, 2);
	pe_rle_init(&rle, page.bytes, 2, 3);
	OK(!pe_rle_levels(&rle, levels, 1), "a run of nothing");
	page = pad((const uint8_t[]){0x05, 0x39, 0x77}, 3);
	OK(pe_bit_packed_levels(page.bytes, 3, 3, 0, levels, 8), "packed from the top");
	good = true;
	for (int i = 0; i < 8; i++)
		good = good && levels[i] == i;
	OK(good, "their values");
	OK(!pe_bit_packed_levels(page.bytes, 3, 3, 8, levels, 1), "and no more");
}

static void
test_delta(void)
{
	/* The format's own example: 7, 5, 3, 1, 2, 3, 4, 5 in blocks of 128 with 4 miniblocks (here 32 values
	 * each). */
	uint8_t bytes[] = {0x80, 0x01, 0x04, 0x08, 0x0e, 0x03, 0x02, 0x00, 0x00,
	                   0x00, 0xc0, 0x3f, 0,    0,    0,    0,    0,    0};
	const int64_t wanted[] = {7, 5, 3, 1, 2, 3, 4, 5};
	padded page = pad(bytes, sizeof(bytes));
	int64_t out[8];
	pe_delta delta;

	OK(pe_delta_init(&delta, page.bytes, sizeof(bytes)), "the header");
	IS_INT(delta.total, 8, "values in all");
	OK(pe_delta_end(&delta) == page.bytes + sizeof(bytes), "where it ends");
	OK(pe_delta_next(&delta, out, 1) && pe_delta_next(&delta, out + 1, 7), "decodes in two steps");
	OK(memcmp(out, wanted, sizeof(out)) == 0, "to the values");
	OK(!pe_delta_next(&delta, out, 1), "and no more");
	for (size_t cut = 0; cut < 12; cut++)
	{
		if (pe_delta_init(&delta, page.bytes, cut) && pe_delta_next(&delta, out, 8))
			OK(false, "cut at %zu", cut);
	}
	bytes[0] = 0x81;
	page = pad(bytes, sizeof(bytes));
	OK(!pe_delta_init(&delta, page.bytes, sizeof(bytes)), "a block that miniblocks do not divide");
}

static void
test_split_and_int96(void)
{
	const uint8_t split[] = {1, 2, 3, 10, 20, 30};
	uint8_t out[4];
	uint8_t int96[12] = {0};
	int32_t julian = 2440588;
	int64_t nanos = 1500;

	pe_split_values(split, 3, 2, 1, out, 2);
	OK(memcmp(out, (const uint8_t[]){2, 20, 3, 30}, 4) == 0, "byte stream split from the second value");
	memcpy(int96, &nanos, 8);
	memcpy(int96 + 8, &julian, 4);
	IS_INT(pe_int96_micros(int96), 1, "INT96 of the epoch");
	julian = INT32_MAX;
	memcpy(int96 + 8, &julian, 4);
	IS_INT(pe_int96_micros(int96), INT64_MAX, "INT96 saturates");
}

static void
test_codecs(void)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	const uint8_t garbage[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3, 4, 5};
	uint8_t *out;
	pe_error err;

	for (int codec = 1; codec <= 7; codec++)
	{
		if (codec == 3 || codec == 4)
			continue;
		IS_INT(pe_codec_decompress(&env, codec, garbage, sizeof(garbage), 200u << 20, &out, &err), PE_CORRUPT,
		       "garbage of 200 MB with codec %d", codec);
	}
	IS_INT(memory.live, 0, "nothing leaked");
	IS_INT(pe_codec_check(4, &err), PE_UNSUPPORTED, "brotli is refused");
	IS_STR(err.message, "the Parquet file is compressed with brotli, which is not read", "by its name");
}

static void
test_text(void)
{
	OK(pe_text_valid("plain ascii of some length", 26), "ASCII");
	OK(pe_text_valid("h\xc3\xa9llo \xe2\x82\xac \xf0\x9f\x9a\x80", 15), "two, three and four bytes");
	OK(!pe_text_valid("12345678\0abcdefg", 16), "a NUL in the second word");
	OK(!pe_text_valid("\xc0\x80", 2), "an overlong NUL");
	OK(!pe_text_valid("\xed\xa0\x80", 3), "a surrogate");
	OK(!pe_text_valid("\xf4\x90\x80\x80", 4), "beyond U+10FFFF");
	OK(!pe_text_valid("\xe2\x82", 2), "cut off");
	IS_STR(pe_text_fault("a\0b", 3), "a NUL byte", "what is wrong: NUL");
	IS_STR(pe_text_fault("\xff", 1), "invalid UTF-8", "what is wrong: bytes");
}

static void
test_json(void)
{
	static const char *const good[] = {
	    "1",  "-0.5e+10",           "\"a\\u00e9\\ud83d\\ude80\"",   "null", " [ ] ",
	    "{}", "[1,[2,{\"a\":[]}]]", "{\"a\":1,\"b\":{\"c\":null}}", "true"};
	static const char *const bad[] = {
	    "",       "[",   "]",   "[1,]", "{\"a\"}",     "{\"a\":}",    "{a:1}",       "01",
	    "1.",     "-",   "1 2", "\"a",  "\"\\u0000\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\x\"",
	    "\"\n\"", "nul", "[1}", "{]",   "{,}",         "[,"};
	char deep[4000];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		OK(pe_json_valid(good[i], strlen(good[i])), "JSON: %s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		OK(!pe_json_valid(bad[i], strlen(bad[i])), "not JSON: %zu", i);
	memset(deep, '[', sizeof(deep));
	OK(!pe_json_valid(deep, sizeof(deep)), "not JSON: too deep");
}

static void
check_decimal(const char *bytes, size_t length, int scale, const char *wanted)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	pe_buffer out;
	pe_leaf leaf = {.physical = PE_PHYSICAL_BYTE_ARRAY, .meaning = PE_MEANS_DECIMAL, .scale = scale};
	pe_slice slice = {bytes, length};

	pe_buffer_init(&out, &env);
	OK(pe_value_text(&leaf, &slice, &out) == NULL, "a decimal of %zu bytes", length);
	pe_buffer_char(&out, '\0');
	IS_STR(out.data, wanted, "is %s", wanted);
	pe_buffer_free(&out);
}

static void
check_double(double value, bool single, const char *wanted)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	pe_buffer out;
	float narrow = (float) value;
	pe_leaf leaf = {.physical = single ? PE_PHYSICAL_FLOAT : PE_PHYSICAL_DOUBLE,
	                .meaning = single ? PE_MEANS_FLOAT : PE_MEANS_DOUBLE};

	pe_buffer_init(&out, &env);
	(void) pe_value_text(&leaf, single ? (const void *) &narrow : (const void *) &value, &out);
	pe_buffer_char(&out, '\0');
	IS_STR(out.data, wanted, "a float as %s", wanted);
	pe_buffer_free(&out);
}

static void
test_values(void)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	pe_buffer out;
	pe_leaf time = {.physical = PE_PHYSICAL_INT64, .meaning = PE_MEANS_TIMESTAMP, .unit_digits = 3};
	int64_t millis = -1;

	check_decimal("\x01", 1, 0, "1");
	check_decimal("\xff", 1, 2, "-0.01");
	check_decimal("", 0, 2, "0.00");
	check_decimal("\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 9, 0, "2361183241434822606847");
	check_decimal("\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, 10, "-17014118346046923173168730371.5884105728");
	check_double(0.1, false, "0.1");
	check_double(1.0 / 3, false, "0.3333333333333333");
	check_double(5e-324, false, "4.94065645841247e-324");
	check_double(-0.0, false, "-0");
	check_double(1200, false, "1200");
	check_double(0.1, true, "0.1");
	check_double(16777216, true, "16777216");
	pe_buffer_init(&out, &env);
	OK(pe_value_text(&time, &millis, &out) == NULL, "a timestamp before the epoch");
	pe_buffer_char(&out, '\0');
	IS_STR(out.data, "1969-12-31T23:59:59.999Z", "in ISO 8601");
	out.length = 0;
	millis = INT64_MIN;
	OK(pe_value_text(&time, &millis, &out) == NULL, "the earliest of milliseconds");
	out.length = 0;
	pe_buffer_json_string(&out, "a\"b\\c\n\x01", 7);
	pe_buffer_char(&out, '\0');
	IS_STR(out.data, "\"a\\\"b\\\\c\\n\\u0001\"", "escapes");
	out.length = 0;
	pe_buffer_base64(&out, "foob", 4);
	pe_buffer_char(&out, '\0');
	IS_STR(out.data, "Zm9vYg==", "base64");
	pe_buffer_free(&out);
}

static void
test_budget(void)
{
	tap_memory memory = {0};
	pe_env outer = tap_env(&memory);
	pe_budget budget;
	pe_env env = pe_budget_env(&budget, &outer, 1000);
	char *first = pe_alloc(&env, 600);

	OK(first != NULL && budget.used == 600, "within the budget");
	OK(pe_alloc(&env, 401) == NULL && budget.exceeded, "beyond it");
	first = pe_realloc(&env, first, 1000);
	OK(first != NULL && budget.used == 1000, "grown to all of it");
	OK(pe_realloc(&env, first, 1001) == NULL && budget.used == 1000, "and no further");
	pe_free(&env, first);
	OK(budget.used == 0 && memory.live == 0, "given back");
}

int
main(void)
{
	test_budget();
	test_thrift();
	test_thrift_bounds();
	test_runs();
	test_delta();
	test_split_and_int96();
	test_codecs();
	test_text();
	test_json();
	test_values();
	return tap_done();
}
