// Rows as Parquet parts, written by DuckDB: NDJSON in, nested columns of the declared types out.
import { createWriteStream, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// NODE_PATH is heeded by require only
const { DuckDBInstance } = createRequire(import.meta.url)('@duckdb/node-api');

export async function connect() {
	const instance = await DuckDBInstance.create(':memory:', { threads: '2', memory_limit: '1GB' });
	return instance.connect();
}

export const literal = (text) => `'${String(text).replaceAll("'", "''")}'`;

// Part names as Spark gives them.
const partName = (i, run) => `part-${String(i).padStart(5, '0')}-${run}-c000.snappy.parquet`;

// Writes a query's rows, which it must order by `position` (from 0), as `parts` files into folder.
export async function writeParts(db, query, columns, rows, parts, folder, run) {
	mkdirSync(folder, { recursive: true });
	const per = Math.max(1, Math.ceil(rows / parts));
	const names = [];
	for (let i = 0; i * per < rows || i === 0; i++) {
		const name = partName(i, run);
		await db.run(`COPY (SELECT ${columns} FROM (${query}) WHERE position >= ${i * per} AND position < ${(i + 1) * per} ORDER BY position)
			TO ${literal(join(folder, name))} (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 20000)`);
		names.push(name);
	}
	return names;
}

// rows: an iterable of objects; types: column name -> DuckDB type.
export async function writeRows(rows, types, parts, folder, run) {
	const scratch = mkdtempSync(join(tmpdir(), 'snapshot-'));
	try {
		const file = join(scratch, 'rows.ndjson');
		const out = createWriteStream(file);
		let position = 0;
		for (const row of rows) {
			if (!out.write(JSON.stringify({ position: position++, ...row }) + '\n')) await once(out, 'drain');
		}
		out.end();
		await once(out, 'finish');
		const db = await connect();
		const list = Object.entries({ position: 'BIGINT', ...types }).map(([name, type]) => `${literal(name)}: ${literal(type)}`);
		await db.run(`CREATE TABLE rows AS SELECT * FROM read_json(${literal(file)}, format = 'newline_delimited',
			maximum_object_size = 1048576, columns = {${list.join(', ')}})`);
		const columns = Object.keys(types).map((name) => `"${name}"`).join(', ');
		return await writeParts(db, 'SELECT * FROM rows', columns, position, parts, folder, run);
	} finally {
		rmSync(scratch, { recursive: true });
	}
}
