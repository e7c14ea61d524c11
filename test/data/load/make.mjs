// Writes the Parquet files of this folder with DuckDB (NODE_PATH must have @duckdb/node-api):
//   node make.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

import { connect, literal } from '../../tools/parquet.mjs';

const db = await connect();
const write = (name, query, options = 'COMPRESSION snappy') =>
	db.run(`COPY (${query}) TO ${literal(new URL(name, import.meta.url).pathname)} (FORMAT parquet, ${options})`);
const file = (name) => new URL(name, import.meta.url);

const person = (first, last) => `{'name': {'firstName': ${first}, 'lastName': ${last}}, 'birthDate': DATE '1980-01-31'}`;
const ids = (pairs) => `MAP {${pairs.map(([space, list]) => `'${space}': [${list.map((id) => `{'id': '${id}', 'primary': false}`)}]`)}}`;

await write('day1.parquet', `
	SELECT '1' AS _id, ${person("'Ann'", "'Lee'")} AS person,
		{'crmId': 'C-1', 'churn': 0.83::DOUBLE, 'active': NULL::BOOLEAN, 'subscription': {'tenureMonths': 12::INTEGER}} AS _acme,
		${ids([['ECID', ['2', '1']], ['crmid', ['C-1']]])} AS identityMap,
		MAP {'ups': MAP {'s1': {'status': 'realized', 'lastQualificationTime': TIMESTAMP '2026-11-22 03:00:00'}}} AS segmentMembership,
		['b', 'a'] AS tags, [{'total': 5::DOUBLE}] AS orders, NULL::VARCHAR AS never
	UNION ALL
	SELECT '2', ${person("'Bjørn'", 'NULL')},
		{'crmId': 'C-2', 'churn': 1, 'active': true, 'subscription': NULL},
		${ids([['CRMID', ['C-2']]])}, NULL, NULL, [{'total': 5::DOUBLE}, {'total': 3.5::DOUBLE}], NULL`);
// a day later: a new attribute, fields that are gone, a wider integer
await write('day2.parquet', `
	SELECT '1' AS _id, {'name': {'firstName': 'Ann'}} AS person,
		{'crmId': 'C-1', 'churn': 0.9::DOUBLE, 'subscription': {'tenureMonths': 13::BIGINT, 'plan': 'gold'}} AS _acme
	UNION ALL
	SELECT '3', {'name': {'firstName': 'Cy'}}, {'crmId': 'C-3', 'churn': 0.1, 'subscription': NULL}`, 'COMPRESSION zstd');
await write('beyond_integer.parquet', `
	SELECT '1' AS _id, {'subscription': {'tenureMonths': 1::BIGINT}} AS _acme
	UNION ALL SELECT '2', {'subscription': {'tenureMonths': 3000000000::BIGINT}}`);
await write('wrong_type.parquet', `SELECT '1' AS _id, {'subscription': {'tenureMonths': 'long'}} AS _acme`);
await write('types.parquet', `
	SELECT 1 AS i, true AS b, 7::TINYINT AS i8, -7::SMALLINT AS i16, 2147483647::INTEGER AS i32, 9223372036854775807::BIGINT AS i64,
		255::UTINYINT AS u8, 4294967295::UINTEGER AS u32, 18446744073709551615::UBIGINT AS u64,
		1.5::FLOAT AS f32, 0.1::DOUBLE AS f64, 12.34::DECIMAL(6,2) AS dec, 1234567890123456789012345678.1::DECIMAL(38,1) AS big_dec,
		DATE '2024-02-29' AS d, TIMESTAMP '2026-11-22 03:00:00.123456' AS ts, TIMESTAMPTZ '2026-11-22 03:00:00+00' AS tstz,
		'text é' AS t, '\\x00\\xFF'::BLOB AS blob, uuid '6ba7b810-9dad-11d1-80b4-00c04fd430c8' AS u, TIME '01:02:03' AS tm,
		'{"k": 1}'::JSON AS j
	UNION ALL SELECT 2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'nan'::DOUBLE, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL`);
await write('nul.parquet', `SELECT '1' AS _id, 'fine' AS t UNION ALL SELECT '2', 'a' || chr(0) || 'b'`);
await write('date.parquet', `SELECT '1' AS _id, DATE '2026-01-01' AS d UNION ALL SELECT '2', DATE '5881000-01-01'`);
await write('timestamp.parquet', `SELECT '1' AS _id, TIMESTAMP '2026-01-01 00:00:00' AS d UNION ALL SELECT '2', TIMESTAMP '100000-01-01 (BC) 00:00:00'`);
let deep = '1';
for (let i = 0; i < 100; i++) deep = `{'a': ${deep}}`;
await write('deep.parquet', `SELECT '1' AS _id, ${deep} AS deep`);
await write('empty.parquet', `SELECT '1' AS _id WHERE false`);
const whole = readFileSync(file('day1.parquet'));
writeFileSync(file('truncated.parquet'), whole.subarray(0, whole.length - 100));
const spoiled = Buffer.from(whole);
spoiled.fill(0xff, 40, 80);
writeFileSync(file('spoiled.parquet'), spoiled);
writeFileSync(file('day1.parquet.gz'), gzipSync(whole));
