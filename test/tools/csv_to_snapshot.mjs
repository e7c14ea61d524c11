// A CSV file as a profile snapshot: each row a profile, each column a tenant attribute.
//
//   node csv_to_snapshot.mjs --csv FILE[.gz] --set telco --out DIR --label Churn [--positive Yes] [--drop a,b]
//                            [--type TotalCharges=DOUBLE,area_code=VARCHAR] [--parts 3] [--tenant acme] [--rows N]
//
// Row i (data rows from 0, in file order) gets the identity CRMID `<set>-<i, seven digits>`. Columns land under
// _<tenant>.<set>.<column> with their names made fit for XDM (camelCase, letters and digits), BIGINT or DOUBLE when
// every value there is one, else text (yes and no stay text), unless --type says otherwise; a value that does not parse is absent. The label becomes
// _<tenant>.<set>.label BOOLEAN, and i stays as _<tenant>.<set>.i for the folds. A text's empty value is left out.
import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';

import { connect, literal, writeParts } from './parquet.mjs';

const { values: args } = parseArgs({
	options: {
		csv: { type: 'string' }, set: { type: 'string' }, out: { type: 'string' }, label: { type: 'string' },
		positive: { type: 'string', default: 'yes' }, drop: { type: 'string', default: '' }, type: { type: 'string', default: '' },
		parts: { type: 'string', default: '3' }, tenant: { type: 'string', default: 'acme' }, rows: { type: 'string' },
	},
});
for (const name of ['csv', 'set', 'out', 'label']) {
	if (!args[name]) {
		console.error(`--${name} is required`);
		process.exit(2);
	}
}

const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

// A field name that the platform's rules allow: total_day_minutes -> totalDayMinutes, "customerID" stays.
function fieldName(column) {
	const [first, ...others] = column.split(/[^A-Za-z0-9]+/).filter(Boolean);
	return first[0].toLowerCase() + first.slice(1) + others.map((w) => w[0].toUpperCase() + w.slice(1)).join('');
}

const db = await connect();
const overrides = Object.fromEntries(args.type.split(',').filter(Boolean).map((pair) => pair.split('=')));
const dropped = new Set(args.drop.split(',').filter(Boolean));
// one thread, and the file's own order: i is the position in it
await db.run('SET threads = 1');
await db.run('SET preserve_insertion_order = true');
await db.run(`CREATE TABLE source AS SELECT row_number() OVER () - 1 AS "standin position", * FROM read_csv(${literal(args.csv)},
	header = true, sample_size = -1, nullstr = '', all_varchar = true)`);
if (args.rows) await db.run(`DELETE FROM source WHERE "standin position" >= ${Number(args.rows)}`);

const described = (await (await db.runAndReadAll('DESCRIBE source')).getRowObjects()).map((row) => row.column_name);
const columns = described.filter((name) => name !== 'standin position' && name !== args.label && !dropped.has(name));
if (!described.includes(args.label)) {
	console.error(`the file has no column ${args.label}; it has ${described.slice(1).join(', ')}`);
	process.exit(1);
}

async function number(query) {
	return Number((await (await db.runAndReadAll(query)).getRowObjects())[0].n);
}

// The narrowest of BIGINT, DOUBLE, VARCHAR that holds every value that is there.
async function sniffed(column) {
	for (const type of ['BIGINT', 'DOUBLE']) {
		const misfits = await number(`SELECT count(*) AS n FROM source WHERE ${quoted(column)} IS NOT NULL AND TRY_CAST(${quoted(column)} AS ${type}) IS NULL
			OR ${type === 'BIGINT' ? `contains(${quoted(column)}, '.')` : 'false'}`);
		if (!misfits) return type;
	}
	return 'VARCHAR';
}

const fields = [];
for (const column of columns) {
	const type = overrides[column] ?? await sniffed(column);
	const value = type === 'VARCHAR' ? quoted(column) : `TRY_CAST(trim(${quoted(column)}) AS ${type})`;
	fields.push({ name: fieldName(column), type, value });
}
const names = new Set(fields.map((field) => field.name));
if (names.size !== fields.length || names.has('label') || names.has('i')) {
	console.error('two columns get the same field name');
	process.exit(1);
}

const set = fieldName(args.set);
const members = [
	...fields.map((field) => `${quoted(field.name)} := ${field.value}`),
	`"label" := lower(trim(${quoted(args.label)})) = lower(${literal(args.positive)})`,
	'"i" := "standin position"',
];
const key = `${literal(`${args.set}-`)} || lpad(CAST("standin position" AS VARCHAR), 7, '0')`;
const query = `SELECT "standin position" AS position, md5(${key}) AS _id,
	MAP {'crmid': [struct_pack(id := ${key}, "primary" := false)]} AS "identityMap",
	struct_pack(${quoted(set)} := struct_pack(${members.join(', ')})) AS ${quoted(`_${args.tenant}`)} FROM source`;
const count = await number('SELECT count(*) AS n FROM source');
const run = createHash('md5').update(args.set).digest('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.*)$/, '$1-$2-$3-$4-$5');
await writeParts(db, query, `_id, "identityMap", ${quoted(`_${args.tenant}`)}`, count, Number(args.parts), args.out, run);
const labels = await number(`SELECT count(*) AS n FROM source WHERE lower(trim(${quoted(args.label)})) = lower(${literal(args.positive)})`);

// what a loader needs: column name -> XDM path
const mapping = { crm_id: 'identityMap.CRMID.id', i: `_${args.tenant}.${set}.i`, label: `_${args.tenant}.${set}.label` };
for (const field of fields) {
	mapping[field.name.replace(/[A-Z]+/g, (c) => `_${c.toLowerCase()}`)] = `_${args.tenant}.${set}.${field.name}`;
}
console.log(JSON.stringify({ rows: count, positives: labels, inputs: fields.length, columns: mapping }));
