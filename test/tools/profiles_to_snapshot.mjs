// Merged profiles as the platform holds them, as a day's profile snapshot in Parquet.
//
//   node profiles_to_snapshot.mjs --in PROFILES.ndjson --types '{"_acme": "STRUCT(...)"}' --out DIR [--parts 2]
//
// One profile a line. types gives the DuckDB type of each column besides identityMap; what it leaves out is not exported.
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

import { writeRows } from './parquet.mjs';

const { values: args } = parseArgs({
	options: { in: { type: 'string' }, types: { type: 'string' }, out: { type: 'string' }, parts: { type: 'string', default: '2' } },
});
if (!args.in || !args.types || !args.out) {
	console.error('--in, --types and --out are required');
	process.exit(2);
}
const rows = [];
for await (const line of createInterface({ input: createReadStream(args.in) })) {
	if (line) rows.push(JSON.parse(line));
}
const types = { identityMap: 'MAP(VARCHAR, STRUCT(id VARCHAR, "primary" BOOLEAN)[])', ...JSON.parse(args.types) };
await writeRows(rows, types, Number(args.parts), args.out, '00000000-0000-4000-8000-000000000000');
