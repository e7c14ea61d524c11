// Reads Parquet files with parquet_dump and with DuckDB and compares every row.
//
//   node parquet_oracle.mjs DUMP FILE...
//
// Prints one line for each file: "same NAME rows", "refused NAME message" (ours; DuckDB is
// not asked), "unread NAME message" (DuckDB's), or "differs NAME where". Exit status 1 when one differs.
import { createRequire } from 'node:module';
import { execFileSync } from 'node:child_process';
import { basename } from 'node:path';

const require = createRequire(import.meta.url);
const duck = require('@duckdb/node-api');

const DAY = 86400n;

// A number in decimal, kept apart from structs that have a member of any name.
class Decimal {
	constructor(text) { this.text = text; }
}

// The year, month and day of days since 1970, as our side writes them.
function isoDate(days) {
	const z = BigInt(days) + 719468n;
	const era = (z >= 0n ? z : z - 146096n) / 146097n;
	const doe = z - era * 146097n;
	const yoe = (doe - doe / 1460n + doe / 36524n - doe / 146096n) / 365n;
	const doy = doe - (365n * yoe + yoe / 4n - yoe / 100n);
	const mp = (5n * doy + 2n) / 153n;
	const d = doy - (153n * mp + 2n) / 5n + 1n;
	const m = mp < 10n ? mp + 3n : mp - 9n;
	const y = yoe + era * 400n + (m <= 2n ? 1n : 0n);
	const two = (n) => String(n).padStart(2, '0');
	const year = y >= 0n && y <= 9999n ? String(y).padStart(4, '0')
		: (y < 0n ? '-' : '+') + String(y < 0n ? -y : y).padStart(4, '0');
	return `${year}-${two(m)}-${two(d)}`;
}

function clock(seconds, fraction, digits) {
	const two = (n) => String(n).padStart(2, '0');
	let text = `${two(seconds / 3600n)}:${two(seconds / 60n % 60n)}:${two(seconds % 60n)}`;
	while (digits > 3 && fraction % 1000n === 0n) { fraction /= 1000n; digits -= 3; }
	return fraction === 0n ? text : `${text}.${String(fraction).padStart(digits, '0')}`;
}

function isoTimestamp(raw, digits) {
	const units = 10n ** BigInt(digits);
	let seconds = raw / units, fraction = raw % units;
	if (fraction < 0n) { fraction += units; seconds -= 1n; }
	let days = seconds / DAY;
	if (seconds % DAY < 0n) days -= 1n;
	return `${isoDate(days)}T${clock(seconds - days * DAY, fraction, digits)}Z`;
}

// A DuckDB value as the JSON our side makes of it; undefined for null.
function ours(value) {
	if (value === null || value === undefined) return undefined;
	if (typeof value === 'number') return Number.isFinite(value) ? value : undefined;
	if (typeof value === 'bigint') return value;
	if (value instanceof duck.DuckDBStructValue) {
		const out = {};
		for (const [name, inner] of Object.entries(value.entries)) {
			const made = ours(inner);
			if (made === undefined) continue;
			if (inner instanceof duck.DuckDBStructValue && Object.keys(made).length === 0) continue;
			out[name] = made;
		}
		return out;
	}
	if (value instanceof duck.DuckDBListValue) return value.items.map((item) => ours(item) ?? null);
	if (value instanceof duck.DuckDBMapValue) {
		const out = {};
		for (const { key, value: inner } of value.entries) {
			const made = ours(inner);
			if (made !== undefined) out[String(ours(key))] = made;
		}
		return out;
	}
	if (value instanceof duck.DuckDBBlobValue) return Buffer.from(value.bytes).toString('base64');
	if (value instanceof duck.DuckDBDateValue) return isoDate(value.days);
	if (value instanceof duck.DuckDBTimeValue) return clock(value.micros / 1000000n, value.micros % 1000000n, 6);
	if (value instanceof duck.DuckDBTimeTZValue) return clock(value.micros / 1000000n, value.micros % 1000000n, 6);
	if (value instanceof duck.DuckDBTimestampMillisecondsValue) return isoTimestamp(value.millis, 3);
	if (value instanceof duck.DuckDBTimestampNanosecondsValue) return isoTimestamp(value.nanos, 9);
	if (value instanceof duck.DuckDBTimestampValue || value instanceof duck.DuckDBTimestampTZValue)
		return isoTimestamp(value.micros, 6);
	if (value instanceof duck.DuckDBIntervalValue) {
		const millis = value.micros / 1000n;
		return `P${value.months}M${value.days}DT${millis / 1000n}.${String(millis % 1000n).padStart(3, '0')}S`;
	}
	if (value instanceof duck.DuckDBDecimalValue) return new Decimal(value.toString());
	if (value instanceof duck.DuckDBUUIDValue) return value.toString();
	return value;
}

// Long numbers as text, which JSON.parse would round.
function parse(line) {
	return JSON.parse(line.replace(/(?<=[:[,])(-?\d[\d.]{15,}(?:[eE][-+]?\d+)?)(?=[,\]}])/g, '"$1"'));
}

function sameNumber(a, b) {
	return a === b || Object.is(Number(a), Number(b)) || Math.fround(Number(a)) === Number(b) || Number(a) === Number(b);
}

// Where do they differ? An empty string: nowhere.
function difference(mine, theirs, path) {
	if (theirs instanceof Decimal) {
		const plain = (text) => String(text).includes('.') ? String(text).replace(/\.?0+$/, '') : String(text);
		return plain(mine) === plain(theirs.text) || sameNumber(mine, theirs.text) ? '' : `${path}: ${mine} / ${theirs.text}`;
	}
	if (typeof theirs === 'bigint') return String(mine) === String(theirs) ? '' : `${path}: ${mine} / ${theirs}`;
	if (typeof theirs === 'number') return sameNumber(mine, theirs) ? '' : `${path}: ${mine} / ${theirs}`;
	if (Array.isArray(theirs)) {
		if (!Array.isArray(mine) || mine.length !== theirs.length) return `${path}: ${JSON.stringify(mine)} is another list`;
		for (let i = 0; i < theirs.length; i++) {
			const found = difference(mine[i], theirs[i], `${path}[${i}]`);
			if (found) return found;
		}
		return '';
	}
	if (theirs !== null && typeof theirs === 'object') {
		if (mine === null || typeof mine !== 'object') return `${path}: ${JSON.stringify(mine)} is no object`;
		for (const name of new Set([...Object.keys(theirs), ...Object.keys(mine)])) {
			if (!(name in theirs) || !(name in mine)) return `${path}.${name}: only in ${name in mine ? 'ours' : 'DuckDB'}`;
			const found = difference(mine[name], theirs[name], `${path}.${name}`);
			if (found) return found;
		}
		return '';
	}
	// A JSON column is a value of ours, and text of DuckDB's.
	if (mine !== null && typeof mine === 'object' && typeof theirs === 'string')
		return JSON.stringify(mine) === JSON.stringify(JSON.parse(theirs)) ? '' : `${path}: ${JSON.stringify(mine)} / ${theirs}`;
	return mine === theirs ? '' : `${path}: ${JSON.stringify(mine)} / ${JSON.stringify(theirs)}`;
}

async function duckRows(connection, file) {
	const result = await connection.runAndReadAll(`SELECT * FROM read_parquet('${file.replaceAll("'", "''")}')`);
	return result.getRowObjects().map((row) => ours(new duck.DuckDBStructValue(row)));
}

function ourRows(dump, file) {
	try {
		return { lines: execFileSync(dump, [file], { maxBuffer: 1 << 30, timeout: 60000, stdio: ['ignore', 'pipe', 'pipe'] })
			.toString().split('\n').slice(0, -1) };
	} catch (error) {
		if (error.status !== 1) throw new Error(`parquet_dump ended with ${error.status ?? error.signal}: ${error.stderr}`);
		return { refusal: error.stdout.toString().trim().split('\n').pop() };
	}
}

async function compare(connection, dump, file) {
	const mine = ourRows(dump, file);
	if (mine.refusal) return `refused ${basename(file)} ${mine.refusal}`;
	let rows;
	try {
		rows = await duckRows(connection, file);
	} catch (error) {
		return `unread ${basename(file)} ${String(error.message).split('\n')[0]}` + ` | ours: ${mine.lines.length} rows`;
	}
	if (rows.length !== mine.lines.length) return `differs ${basename(file)} ${mine.lines.length} rows / ${rows.length}`;
	for (let i = 0; i < rows.length; i++) {
		const found = difference(parse(mine.lines[i]), rows[i], `row ${i + 1}`);
		if (found) return `differs ${basename(file)} ${found}`;
	}
	return `same ${basename(file)} ${rows.length}`;
}

const [dump, ...files] = process.argv.slice(2);
const instance = await duck.DuckDBInstance.create(':memory:', { threads: '1' });
const connection = await instance.connect();
await connection.run("SET TimeZone='UTC'").catch(() => {});
let differing = 0;
for (const file of files) {
	const line = await compare(connection, dump, file).catch((error) => `differs ${basename(file)} ${error.message.slice(0, 300)}`);
	console.log(line);
	differing += line.startsWith('differs');
}
process.exit(differing > 0 ? 1 : 0);
