// Many days of profile snapshots of the same, invented customers, as Parquet: OUT/YYYY-MM-DD/part-00000.parquet.
//
//   node make_history.mjs --out DIR [--profiles 4000] [--days 60] [--date 2026-09-01] [--seed 1]
//
// Some customers get into trouble: for weeks they spend less and call more, and most of those leave, which the column
// churned says from then on. All spend a little less from day to day, whoever they are. Some join later, some are merged into another profile, some are
// gone without a word, some change their consent. noticeDays knows a month before who is going to leave (a leak), exitSurvey only
// afterwards. The same arguments give the same values.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { connect, literal } from './parquet.mjs';

const { values: args } = parseArgs({
	options: {
		out: { type: 'string' }, profiles: { type: 'string', default: '4000' }, days: { type: 'string', default: '60' },
		date: { type: 'string', default: '2026-09-01' }, seed: { type: 'string', default: '1' },
	},
});
if (!args.out) {
	console.error('--out DIR is required');
	process.exit(2);
}
const profiles = Number(args.profiles), days = Number(args.days), seed = Number(args.seed);
const never = 99999;
const db = await connect();

await db.run(`CREATE MACRO u(i, salt) AS ((hash(i * 1000 + salt, ${seed}) % 1000003)::DOUBLE + 0.5) / 1000003`);
await db.run('CREATE MACRO n(i, salt) AS sqrt(-2 * ln(u(i, salt))) * cos(6.283185307179586 * u(i, salt + 500))');
await db.run(`CREATE TABLE people AS SELECT *,
	CASE WHEN trouble < ${never} AND u(i, 7) < 0.65 THEN trouble + 10 + floor(15 * u(i, 8))::INTEGER
		WHEN u(i, 7) < 0.03 THEN floor(${days + 20} * u(i, 9))::INTEGER ELSE ${never} END AS leaves
	FROM (SELECT i, exp(3.6 + 0.5 * n(i, 1)) AS base, exp(1.6 + 0.4 * n(i, 2)) AS active, floor(120 * u(i, 12))::INTEGER AS tenure,
		CASE WHEN u(i, 3) < 0.1 THEN floor(${days} * u(i, 4))::INTEGER ELSE 0 END AS joined,
		CASE WHEN u(i, 5) < 0.6 THEN floor(${days + 45} * u(i, 6))::INTEGER - 30 ELSE ${never} END AS trouble,
		CASE WHEN i % 2 = 1 AND u(i, 10) < 0.04 THEN 1 + floor(${days} * u(i, 11))::INTEGER ELSE ${never} END AS merged,
		CASE WHEN u(i, 13) < 0.02 THEN 1 + floor(${days} * u(i, 14))::INTEGER ELSE ${never} END AS gone,
		CASE WHEN u(i, 15) < 0.06 THEN 1 + floor(${days} * u(i, 16))::INTEGER ELSE ${never} END AS consent_changes,
		u(i, 17) < 0.9 AS consents, ['basic', 'standard', 'premium'][1 + floor(3 * u(i, 18))::INTEGER] AS plan
		FROM range(${profiles}) AS r(i)) AS p`);

for (let day = 0; day < days; day++) {
	const date = new Date(Date.parse(`${args.date}T00:00:00Z`) + day * 86400000).toISOString().slice(0, 10);
	const folder = join(args.out, date);
	mkdirSync(folder, { recursive: true });
	await db.run(`COPY (SELECT
			MAP {'crmid': CASE WHEN other.i IS NULL THEN [{'id': 'C-' || (1000000 + p.i), 'primary': true}]
				ELSE [{'id': 'C-' || (1000000 + other.i), 'primary': false}, {'id': 'C-' || (1000000 + p.i), 'primary': true}] END} AS "identityMap",
			{'personalize': {'content': {'val': CASE WHEN p.consents <> (${day} >= p.consent_changes) THEN 'y' ELSE 'n' END}}} AS consents,
			{'plan': CASE WHEN ${day} >= p.trouble + 6 AND u(p.i, 19) < 0.3 THEN 'basic' ELSE p.plan END,
				'spend30d': round(p.base * exp(-1.2 * p.stress + 0.1 * n(p.i, 100 + ${day}) - 0.002 * ${day} - p.since / 6), 2),
				'sessions7d': floor(p.active * (1 - 0.5 * p.stress) * (0.6 + 0.8 * u(p.i, 200 + ${day})) * exp(-p.since))::INTEGER,
				'calls30d': floor(3 * u(p.i, 300 + ${Math.floor(day / 7)}) + 2.5 * p.stress)::INTEGER,
				'tenureMonths': (p.tenure + ${Math.floor(day / 30)})::INTEGER,
				'noticeDays': CASE WHEN p.leaves - ${day} BETWEEN 1 AND 30 THEN p.leaves - ${day} END::INTEGER,
				'exitSurvey': CASE WHEN ${day} >= p.leaves AND u(p.i, 20) < 0.9 THEN ['price', 'service', 'moved'][1 + floor(3 * u(p.i, 21))::INTEGER] END,
				'churned': ${day} >= p.leaves} AS _acme
		FROM (SELECT *, CASE WHEN ${day} >= trouble AND ${day} < least(leaves, trouble + 30) THEN least(${day} - trouble, 20) / 20.0 ELSE 0 END AS stress,
			greatest(${day} - leaves, 0)::DOUBLE AS since FROM people) AS p
		LEFT JOIN people AS other ON other.i = p.i + 1 AND other.merged <= ${day}
		WHERE p.joined <= ${day} AND p.merged > ${day} AND p.gone > ${day} ORDER BY p.i)
		TO ${literal(join(folder, 'part-00000.parquet'))} (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 20000)`);
}
