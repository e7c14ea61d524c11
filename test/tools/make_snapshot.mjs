// A day's profile snapshot as the platform exports it, invented but not arbitrary: nested XDM, several ids a
// profile, memberships, consents, gaps, and two labels that depend on the rest through known formulas and noise.
//
//   node make_snapshot.mjs --out DIR [--rows 20000] [--seed 1] [--day 0] [--date 2026-11-23] [--parts 4]
//                          [--tenant acme] [--profiles FILE.ndjson]
//
// The same arguments give the same values. Day n is n days after --date: the same customers, of whom about one
// in eight did something since the day before, some new ones, and a few gone. --profiles also writes what the
// platform's Profile store would hold, for the stand-in's POST /profiles.
import { createWriteStream } from 'node:fs';
import { parseArgs } from 'node:util';

import { Chance } from './chance.mjs';
import { writeRows } from './parquet.mjs';

const { values: args } = parseArgs({
	options: {
		out: { type: 'string' }, rows: { type: 'string', default: '20000' }, seed: { type: 'string', default: '1' },
		day: { type: 'string', default: '0' }, date: { type: 'string', default: '2026-11-23' },
		parts: { type: 'string', default: '4' }, tenant: { type: 'string', default: 'acme' }, profiles: { type: 'string' },
	},
});
if (!args.out) {
	console.error('--out DIR is required');
	process.exit(2);
}
const rows = Number(args.rows), seed = Number(args.seed), day = Number(args.day);
const DAY_MS = 86400000;
const base = Date.parse(`${args.date}T03:00:00Z`);
const today = base + day * DAY_MS;
const tenant = `_${args.tenant}`;

const CITIES = [
	[['Berlin', 'DE', '10115'], 5], [['Hamburg', 'DE', '20095'], 3], [['Wien', 'AT', '1010'], 2], [['Zürich', 'CH', '8001'], 2],
	[['Paris', 'FR', '75001'], 4], [['Lyon', 'FR', '69001'], 2], [['London', 'GB', 'EC1A'], 5], [['Leeds', 'GB', 'LS1'], 2],
	[['New York', 'US', '10001'], 6], [['Chicago', 'US', '60601'], 4], [['Austin', 'US', '73301'], 3], [['São Paulo', 'BR', '01000'], 2],
];
const FIRST = ['Ada', 'Ben', 'Chloé', 'Dario', 'Emma', 'Finn', 'Grace', 'Hugo', 'Ines', 'Jonas', 'Kira', 'Liam', 'Maya', 'Noah', 'Olga', 'Paul'];
const LAST = ['Adler', 'Brandt', 'Costa', 'Dubois', 'Evans', 'Fischer', 'García', 'Huber', 'Ito', 'Jansen', 'Keller', 'López', "O'Neil", 'Weiß'];
const SEGMENTS = ['2f1e6a52-5d3c-4a8e-9c46-7d0f1f5c2a01', '6b8c0d3e-91fa-4c11-8e0d-55d2a7c3b902', 'c0a9e1f4-3b7d-4d26-a1ce-0e8b64f7d103'];
const PLANS = [['basic', 35], ['standard', 40], ['premium', 17], ['family', 8]];
const PLAN_PRICE = { basic: 19, standard: 34, premium: 59, family: 74 };

const iso = (ms) => new Date(ms).toISOString().replace('.000Z', 'Z');
const date = (ms) => iso(ms).slice(0, 10);
const round = (x, digits) => Number(x.toFixed(digits));
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// Gaps: an absent value is left out, as in an export.
const maybe = (chance, present, value) => (chance.hits(present) ? value : undefined);

// What a customer is, the same on every day.
function customer(i) {
	const chance = new Chance(seed, i);
	const city = chance.pick(CITIES);
	const contract = chance.pick([['monthly', 52], ['annual', 30], ['two-year', 18]]);
	const plan = chance.pick(PLANS);
	const joined = Math.floor((contract === 'monthly' ? 30 : 55) * -Math.log(1 - chance.uniform()));
	return {
		chance, city, contract, plan,
		first: FIRST[chance.integer(0, FIRST.length - 1)], last: LAST[chance.integer(0, LAST.length - 1)],
		gender: chance.pick([['female', 48], ['male', 47], ['non_specific', 5]]),
		birth: Date.parse('1946-01-01') + chance.integer(0, 60 * 365) * DAY_MS,
		tenure: Math.min(120, joined) + Math.floor(day / 30), autopay: chance.hits(contract === 'monthly' ? 0.45 : 0.75),
		engaged: chance.normal(), wealthy: chance.normal(), device: chance.pick([['mobile', 6], ['desktop', 3], ['tablet', 1]]),
		member: chance.hits(0.62), consent: chance.pick([['y', 80], ['n', 8], ['u', 12]]),
		price: round(PLAN_PRICE[plan] * Math.exp(0.12 * chance.normal()), 2), trouble: chance.normal(), outcome: chance.uniform(),
		noise: chance.normal(), spendNoise: chance.normal(),
	};
}

// What a customer did until today: drawn anew when something happened since the day before.
function activity(i, who) {
	let drawn = 0;
	for (let d = 1; d <= day; d++) if (new Chance(seed, i, d, 77).hits(0.12)) drawn = d;
	const chance = new Chance(seed, i, drawn, 5);
	const sessions = chance.poisson(Math.exp(1.4 + 0.75 * who.engaged));
	const orders = chance.poisson(Math.exp(0.9 + 0.45 * who.engaged + 0.3 * who.wealthy));
	const basket = round(Math.exp(3.6 + 0.45 * who.wealthy + 0.25 * chance.normal()), 2);
	const anchor = base + drawn * DAY_MS;
	const idle = Math.floor(-Math.log(1 - chance.uniform()) * 9 * Math.exp(-0.6 * who.engaged)) + (day - drawn);
	return {
		anchor, sessions, orders, basket, idle, calls: chance.poisson(Math.exp(-0.4 + 0.7 * who.trouble)),
		returns: orders ? Math.min(orders, chance.poisson(0.12 * orders)) : 0, pages: round(2 + 6 * chance.uniform() + who.engaged, 1),
		category: chance.pick([['outdoor', 3], ['home', 4], ['fashion', 5], ['electronics', 3]]),
		late: chance.hits(who.autopay ? 0.03 : 0.16),
	};
}

// The truth behind the label: sums, a curve and an interaction, so that trees have something to find.
function churnMargin(who, did) {
	const monthly = who.contract === 'monthly';
	return -2.75 + (monthly ? 1.5 : who.contract === 'annual' ? 0.2 : -0.9) - 0.028 * Math.min(who.tenure, 60) + 0.018 * (who.price - 35) +
		0.45 * Math.min(did.calls, 5) + (monthly && did.calls >= 2 ? 0.7 : 0) + (did.idle > 21 ? 1.0 : 0) - 0.16 * Math.min(did.sessions, 12) / 2 +
		(did.late ? 1.0 : 0) + (who.autopay ? -0.35 : 0.25) + (did.orders && did.returns / did.orders > 0.3 ? 0.6 : 0) + (who.plan === 'family' ? -0.8 : 0) +
		0.25 * who.noise + 1.05;
}

function nextYearValue(who, did, churned) {
	const yearly = did.orders * did.basket * (1 - 0.6 * (did.returns / Math.max(1, did.orders))) * Math.exp(0.2 * (did.category === 'electronics'));
	const value = (0.75 * yearly + 14 * Math.sqrt(did.sessions + 1)) * Math.exp(0.35 * who.spendNoise - 0.06) * (churned ? 0.35 : 1);
	return round(Math.max(0, value), 2);
}

function membership(i, who, did) {
	const chance = new Chance(seed, i, 4);
	const at = () => iso(did.anchor - chance.integer(0, 29) * DAY_MS - chance.integer(0, 80000) * 1000);
	const ups = {};
	if (did.sessions > 6) ups[SEGMENTS[0]] = { status: 'realized', lastQualificationTime: at() };
	if (who.plan === 'premium') ups[SEGMENTS[1]] = { status: 'realized', lastQualificationTime: at() };
	if (did.idle > 30) ups[SEGMENTS[2]] = { status: chance.hits(0.8) ? 'realized' : 'exited', lastQualificationTime: at() };
	return Object.keys(ups).length ? { ups } : undefined;
}

// One row of the export; undefined members are left out by JSON.stringify.
function profile(i) {
	const who = customer(i), did = activity(i, who);
	const chance = new Chance(seed, i, 3);
	const margin = churnMargin(who, did);
	const churned = who.outcome < sigmoid(margin);
	const key = `C-${String(100000 + i)}`;
	const email = `${who.first}.${who.last}.${i}@example.com`.toLowerCase().normalize('NFD').replace(/[^a-z0-9.@-]/g, '');
	const ecids = [{ id: chance.digits(38), primary: false }];
	if (chance.hits(0.2)) ecids.push({ id: chance.digits(38), primary: false });
	const identityMap = { crmid: [{ id: key, primary: false }], ecid: ecids };
	if (chance.hits(0.7)) identityMap.email = [{ id: email, primary: false }];
	const web = maybe(chance, 0.88, {
		sessions30d: did.sessions, pagesPerSession: maybe(chance, 0.95, Math.max(1, round(did.pages, 1))),
		lastVisit: iso(today - did.idle * DAY_MS - chance.integer(0, 80000) * 1000), device: maybe(chance, 0.97, who.device),
	});
	const bought = did.orders > 0, lastOrder = chance.integer(1, 360);
	return {
		margin, churned, key,
		row: {
			_id: chance.hex(32),
			_repo: { createDate: iso(base - (who.tenure * 30 + 3) * DAY_MS), modifyDate: iso(today - did.idle * DAY_MS) },
			person: {
				name: { firstName: who.first, lastName: who.last },
				birthDate: maybe(chance, 0.8, date(who.birth)), gender: maybe(chance, 0.9, who.gender),
			},
			personalEmail: maybe(chance, 0.85, { address: email }),
			homeAddress: maybe(chance, 0.93, { city: who.city[0], countryCode: who.city[1], postalCode: maybe(chance, 0.9, who.city[2]) }),
			loyalty: who.member ? {
				tier: chance.pick([['bronze', 6], ['silver', 3], ['gold', 1]]),
				points: round(40 * did.orders * chance.uniform() + 3 * who.tenure, 0), joinDate: iso(base - who.tenure * 20 * DAY_MS),
			} : undefined,
			consents: {
				collect: { val: who.consent === 'n' ? 'n' : 'y' }, personalize: { content: { val: who.consent } },
				marketing: { email: { val: chance.hits(0.7) ? 'y' : 'n' }, push: maybe(chance, 0.5, { val: chance.hits(0.4) ? 'y' : 'n' }) },
				metadata: { time: iso(base - chance.integer(30, 600) * DAY_MS) },
			},
			identityMap,
			segmentMembership: membership(i, who, did),
			[tenant]: {
				crmId: key,
				subscription: {
					tenureMonths: who.tenure, plan: maybe(chance, 0.98, who.plan), monthlyCharges: maybe(chance, 0.97, who.price),
					contract: who.contract, autopay: maybe(chance, 0.96, who.autopay), latePayment: did.late,
				},
				web,
				orders: {
					count365d: did.orders, averageBasket: bought ? did.basket : undefined, returns365d: did.returns,
					lastOrder: bought ? iso(did.anchor - lastOrder * DAY_MS) : undefined,
					topCategory: bought ? did.category : undefined,
					value365d: round(did.orders * did.basket, 2),
				},
				service: { calls90d: maybe(chance, 0.94, did.calls), interests: interests(i, did) },
				churned, nextYearValue: nextYearValue(who, did, churned),
			},
		},
	};
}

function interests(i, did) {
	const chance = new Chance(seed, i, 6);
	const all = ['outdoor', 'home', 'fashion', 'electronics'].filter((c) => c === did.category || chance.hits(0.2));
	return all.length && chance.hits(0.8) ? all : undefined;
}

const TYPES = {
	_id: 'VARCHAR', _repo: 'STRUCT(createDate TIMESTAMP, modifyDate TIMESTAMP)',
	person: 'STRUCT(name STRUCT(firstName VARCHAR, lastName VARCHAR), birthDate DATE, gender VARCHAR)',
	personalEmail: 'STRUCT(address VARCHAR)', homeAddress: 'STRUCT(city VARCHAR, countryCode VARCHAR, postalCode VARCHAR)',
	loyalty: 'STRUCT(tier VARCHAR, points DOUBLE, joinDate TIMESTAMP)',
	consents: 'STRUCT(collect STRUCT(val VARCHAR), personalize STRUCT(content STRUCT(val VARCHAR)), ' +
		'marketing STRUCT(email STRUCT(val VARCHAR), push STRUCT(val VARCHAR)), metadata STRUCT("time" TIMESTAMP))',
	identityMap: 'MAP(VARCHAR, STRUCT(id VARCHAR, "primary" BOOLEAN)[])',
	segmentMembership: 'MAP(VARCHAR, MAP(VARCHAR, STRUCT(status VARCHAR, lastQualificationTime TIMESTAMP)))',
	[tenant]: 'STRUCT(crmId VARCHAR, subscription STRUCT(tenureMonths INTEGER, plan VARCHAR, monthlyCharges DOUBLE, contract VARCHAR, ' +
		'autopay BOOLEAN, latePayment BOOLEAN), web STRUCT(sessions30d INTEGER, pagesPerSession DOUBLE, lastVisit TIMESTAMP, device VARCHAR), ' +
		'orders STRUCT(count365d INTEGER, averageBasket DOUBLE, returns365d INTEGER, lastOrder TIMESTAMP, topCategory VARCHAR, value365d DOUBLE), ' +
		'service STRUCT(calls90d INTEGER, interests VARCHAR[]), churned BOOLEAN, nextYearValue DOUBLE)',
};

// The area under the curve of the true margin: what the best possible model could reach.
function auc(scored) {
	scored.sort((a, b) => a[0] - b[0]);
	let positives = 0, sum = 0;
	scored.forEach(([, label], rank) => { if (label) { positives++; sum += rank + 1; } });
	return (sum - positives * (positives + 1) / 2) / (positives * (scored.length - positives));
}

const scored = [];
const store = args.profiles && createWriteStream(args.profiles);

function* everyone() {
	const arrived = Math.floor(rows * 0.002 * day);
	for (let i = 0; i < rows + arrived; i++) {
		if (new Chance(seed, i, 9).hits(0.0005 * day)) continue;
		const made = profile(i);
		scored.push([made.margin, made.churned]);
		if (store) store.write(JSON.stringify({ namespace: 'CRMID', identity: made.key, entity: stored(made) }) + '\n');
		yield made.row;
	}
}

// The part of a profile that the store needs to show.
function stored({ key, row }) {
	return {
		identityMap: { CRMID: [{ id: key }] }, person: row.person, homeAddress: row.homeAddress, loyalty: row.loyalty,
		[tenant]: { crmId: key, subscription: row[tenant].subscription },
	};
}

const run = new Chance(seed, day, 11).hex(32).replace(/^(.{8})(.{4})(.{4})(.{4})(.*)$/, '$1-$2-$3-$4-$5');
const names = await writeRows(everyone(), TYPES, Number(args.parts), args.out, run);
if (store) await new Promise((done) => store.end(done));
const churned = scored.filter(([, label]) => label).length;
console.log(JSON.stringify({
	rows: scored.length, files: names.length, date: date(today), churned: round(churned / scored.length, 4), best_auc: round(auc(scored), 4),
}));
