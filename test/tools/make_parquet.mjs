// Writes the committed Parquet files of test/data/parquet with DuckDB.
//
//   NODE_PATH=.../node_modules node test/tools/make_parquet.mjs test/data/parquet
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(import.meta.url);
const duck = require('@duckdb/node-api');

const directory = process.argv[2];
const instance = await duck.DuckDBInstance.create(':memory:', { threads: '1' });
const db = await instance.connect();
await db.run("SET TimeZone='UTC'");

async function write(name, query, options) {
	const path = join(directory, name).replaceAll("'", "''");
	await db.run(`COPY (${query}) TO '${path}' (FORMAT parquet${options ? `, ${options}` : ''})`);
}

// Every seventh value of each column is null, at different rows.
const flat = `
	SELECT i AS id,
		CASE WHEN i % 7 <> 1 THEN i % 3 = 0 END AS flag,
		CASE WHEN i % 7 <> 2 THEN (i * 37 % 200 - 100)::TINYINT END AS tiny,
		CASE WHEN i % 7 <> 3 THEN (i * 1000003)::BIGINT END AS big,
		CASE WHEN i % 7 <> 4 THEN i / 8.0::DOUBLE END AS real8,
		CASE WHEN i % 7 <> 5 THEN (i / 4.0)::FLOAT END AS real4,
		CASE WHEN i % 7 <> 6 THEN 'city ' || (i % 10) END AS city,
		CASE WHEN i % 7 <> 0 THEN 'name of ' || i || ' é' END AS name,
		DATE '2020-01-01' + (i % 1000)::INTEGER AS day,
		TIMESTAMPTZ '2024-02-29 12:34:56.789012+00' + INTERVAL (i) MINUTE AS at,
		(i * 1.25)::DECIMAL(12, 2) AS amount,
		(i * 1.25)::DECIMAL(38, 4) AS wide_amount,
		(i % 256)::UTINYINT AS u8,
		(4294967295 - i)::UINTEGER AS u32,
		(18446744073709551615 - i)::UBIGINT AS u64,
		TIME '01:02:03.5' AS clock,
		('00000000-0000-0000-0000-' || lpad(i::VARCHAR, 12, '0'))::UUID AS uuid,
		INTERVAL 1 MONTH + INTERVAL 2 DAY + INTERVAL 3 SECOND AS span,
		encode('b' || i) AS raw,
		('{"n": ' || i || '}')::JSON AS doc,
		NULL::VARCHAR AS nothing
	FROM range(0, 500) t(i)`;

await write('flat_plain.parquet', flat, 'COMPRESSION uncompressed, ROW_GROUP_SIZE 2048');
for (const codec of ['snappy', 'gzip', 'zstd', 'lz4_raw', 'brotli'])
	await write(`flat_${codec}.parquet`, flat + ' LIMIT 200', `COMPRESSION ${codec}`);
await write('flat_v2.parquet', flat, "COMPRESSION zstd, PARQUET_VERSION v2");

const profile = `
	SELECT 'p' || i AS _id,
		{'name': {'firstName': 'F' || i, 'lastName': CASE WHEN i % 3 <> 0 THEN 'L' || i END},
		 'birthDate': DATE '1980-01-31' + i::INTEGER} AS person,
		{'crmId': 'C-' || i, 'subscription': {'tenureMonths': i % 72, 'plan.name': 'plan ' || (i % 4)}} AS _acme,
		CASE WHEN i % 5 = 4 THEN NULL ELSE MAP {
			CASE WHEN i % 2 = 0 THEN 'CRMID' ELSE 'crmid' END:
				[{'id': 'C-' || (i + 1), 'primary': false}, {'id': 'C-' || i, 'primary': true}],
			'ECID': [{'id': lpad(i::VARCHAR, 38, '0'), 'primary': NULL}]} END AS "identityMap",
		MAP {'ups': MAP {'11111111-2222-3333-4444-555555555555':
			{'status': CASE WHEN i % 2 = 0 THEN 'realized' ELSE 'exited' END,
			 'lastQualificationTime': TIMESTAMPTZ '2026-11-22 03:00:00+00'}}} AS "segmentMembership",
		CASE WHEN i % 4 = 0 THEN NULL WHEN i % 4 = 1 THEN []::INTEGER[] WHEN i % 4 = 2 THEN [i, NULL, -i]
			ELSE [i] END AS numbers,
		[[i], [], NULL, [i, i + 1]] AS nested,
		MAP {1: 'one', 2: NULL} AS by_number
	FROM range(0, 300) t(i)`;
await write('profile.parquet', profile, 'COMPRESSION snappy, ROW_GROUP_SIZE 2048');
await write('profile_v2.parquet', profile, 'COMPRESSION zstd, PARQUET_VERSION v2');

// Two row groups: DuckDB cuts them at multiples of 2048.
await write('groups.parquet', "SELECT i AS id, [i, i + 1] AS pair, 'x' || (i % 5) AS word FROM range(0, 5000) t(i)",
	'COMPRESSION zstd, ROW_GROUP_SIZE 2048');

// Values that cannot be delivered, each in the third row.
await write('bad_values.parquet', `
	SELECT i AS id,
		CASE WHEN i = 2 THEN 'a' || chr(0) || 'b' ELSE 'good' END AS nul,
		CASE WHEN i = 2 THEN '\\xFF'::BLOB ELSE 'good'::BLOB END AS bytes,
		CASE WHEN i = 2 THEN DATE '5881580-07-10' ELSE DATE '2020-01-01' END AS day,
		CASE WHEN i = 2 THEN '200000-01-01 (BC) 00:00:00'::TIMESTAMP ELSE TIMESTAMP '2020-01-01 00:00:00' END AS at,
		CASE WHEN i = 2 THEN 3000000000 ELSE 1 END::BIGINT AS big,
		CASE WHEN i = 2 THEN ['ok', 'a' || chr(0)] ELSE ['ok'] END AS list
	FROM range(0, 5) t(i)`, 'COMPRESSION snappy');
await write('variant.parquet', "SELECT i AS id, {'a': i}::VARIANT AS thing FROM range(0, 3) t(i)", 'COMPRESSION snappy');
await write('empty.parquet', 'SELECT 1 AS a, [1] AS b WHERE false', 'COMPRESSION snappy');
