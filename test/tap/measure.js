// What a rendered page is like for a reader, told to the page that frames it. Runs when all is laid out.
window.addEventListener('load', () => {
	const luminance = ([r, g, b]) => {
		const linear = [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
	};
	const colour = text => (text.match(/[\d.]+/g) || []).map(Number);
	const contrast = (a, b) => {
		const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
		return (high + 0.05) / (low + 0.05);
	};
	const background = element => {
		for (let at = element; at; at = at.parentElement) {
			const c = colour(getComputedStyle(at).backgroundColor);
			if (c.length === 3 || c[3] > 0) return c;
		}
		return [255, 255, 255];
	};
	const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
	const result = {width: innerWidth, scrolls: document.scrollingElement.scrollWidth - innerWidth, small: [], faint: [], overlaps: [],
		clipped: [], outside: [...document.querySelectorAll('[src],[href],script:not([data-measure]),link,iframe,object')].map(e => e.outerHTML),
		figures: [...document.querySelectorAll('figure h3')].map(e => e.textContent),
		unlabelled: [...document.querySelectorAll('figure > svg')].filter(e => !e.getAttribute('aria-label')).length};
	for (const element of document.querySelectorAll('body *')) {
		const own = [...element.childNodes].filter(n => n.nodeType === 3 && n.textContent.trim()).map(n => n.textContent.trim()).join(' ');
		if (!own || element.closest('title')) continue;
		const style = getComputedStyle(element), drawn = element instanceof SVGElement;
		const size = parseFloat(style.fontSize) * (drawn ? element.getScreenCTM().d || Math.abs(element.getScreenCTM().b) : 1);
		if (size < (drawn ? 10.5 : 13.5)) result.small.push([own, size]);
		const inside = drawn && element.classList.contains('inside');
		const behind = inside ? colour(getComputedStyle(element.previousElementSibling).fill) : background(drawn ? element.ownerSVGElement.parentElement : element);
		const ratio = contrast(colour(drawn ? style.fill : style.color), behind);
		if (ratio < 4.5) result.faint.push([own, ratio]);
	}
	for (const svg of document.querySelectorAll('figure > svg')) {
		const frame = svg.getBoundingClientRect(), boxes = [...svg.querySelectorAll('text')].map(t => [t.lastChild.textContent, t.getBoundingClientRect()]);
		boxes.forEach(([text, box], i) => {
			if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) result.clipped.push(text);
			for (const [other, its] of boxes.slice(i + 1)) if (overlap(box, its)) result.overlaps.push([text, other]);
		});
	}
	const stroke = selector => { const e = document.querySelector(selector); return e ? colour(getComputedStyle(e).stroke) : null; };
	result.series = {main: stroke('polyline.main'), second: stroke('polyline.second')};
	const second = document.querySelector('polyline.second');
	result.dash = second ? getComputedStyle(second).strokeDasharray : null;
	parent.postMessage(JSON.stringify(result), '*');
});
