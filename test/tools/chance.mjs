// Chance that comes out the same everywhere: a small generator, seeded by numbers.

function mix(h) {
	h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
	h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
	return (h ^ (h >>> 16)) >>> 0;
}

export class Chance {
	// Independent streams for different lists of numbers.
	constructor(...seeds) {
		this.state = 0x9e3779b9;
		for (const seed of seeds) this.state = mix(this.state ^ mix((seed >>> 0) + 0x7f4a7c15));
	}

	// From 0 to below 1, with 32 bits.
	uniform() {
		this.state = (this.state + 0x6d2b79f5) >>> 0;
		let t = this.state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	}

	hits(probability) {
		return this.uniform() < probability;
	}

	integer(low, high) {
		return low + Math.floor(this.uniform() * (high - low + 1));
	}

	normal() {
		const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
		return radius * Math.cos(2 * Math.PI * this.uniform());
	}

	poisson(mean) {
		if (mean > 30) return Math.max(0, Math.round(mean + Math.sqrt(mean) * this.normal()));
		const limit = Math.exp(-mean);
		let k = 0;
		for (let p = this.uniform(); p > limit; p *= this.uniform()) k++;
		return k;
	}

	// One of [value, weight] pairs.
	pick(pairs) {
		let at = this.uniform() * pairs.reduce((sum, pair) => sum + pair[1], 0);
		for (const [value, weight] of pairs) {
			at -= weight;
			if (at < 0) return value;
		}
		return pairs[pairs.length - 1][0];
	}

	digits(length) {
		let text = '';
		while (text.length < length) text += this.integer(0, 9);
		return text;
	}

	hex(length) {
		let text = '';
		while (text.length < length) text += this.integer(0, 15).toString(16);
		return text;
	}
}
