// usage: node wide_parquet.mjs ROWS FILE
// Writes ROWS profiles of 30 typed columns, in row groups as large as Spark's.
import { DuckDBInstance } from '@duckdb/node-api';

const [, , rows, file] = process.argv;
const repeated = (count, column) => Array.from({ length: count }, (_, n) => column(n + 1)).join(', ');
const columns = [
	"'C-' || i AS id",
	repeated(10, (n) => `CASE WHEN (i + ${n}) % 11 <> 0 THEN (hash(i, ${n}) % 10000)::INTEGER END AS count${n}`),
	repeated(8, (n) => `CASE WHEN (i + ${n}) % 7 <> 0 THEN hash(i, 100 + ${n}) / 1e17 END AS amount${n}`),
	repeated(3, (n) => `(hash(i, 200 + ${n}) % 1000000000000)::BIGINT AS number${n}`),
	repeated(3, (n) => `'level ' || hash(i, 300 + ${n}) % ${10 ** n} AS level${n}`),
	"'name ' || hash(i, 400) AS name",
	"DATE '2020-01-01' + (hash(i, 500) % 2000)::INTEGER AS joined",
	repeated(2, (n) => `TIMESTAMPTZ '2024-01-01 00:00:00+00' + INTERVAL (hash(i, 600 + ${n}) % 31536000) SECOND AS at${n}`),
	'i % 3 = 0 AS churned',
];
const connection = await (await DuckDBInstance.create(':memory:', { memory_limit: '2GB' })).connect();
await connection.run(`COPY (SELECT ${columns.join(', ')} FROM range(0, ${rows}) t(i))
  TO '${file}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 1000000)`);
