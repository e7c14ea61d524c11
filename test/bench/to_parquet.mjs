// usage: node to_parquet.mjs rows.csv rows.parquet
// Writes the benchmark's CSV as the flat Parquet that an export would hold.
import { DuckDBInstance } from '@duckdb/node-api';

const [, , from, to] = process.argv;
const connection = await (await DuckDBInstance.create(':memory:')).connect();
await connection.run(`COPY (SELECT * FROM read_csv('${from}', header = true, sample_size = -1))
  TO '${to}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 200000)`);
