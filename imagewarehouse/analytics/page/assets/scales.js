// Where things are in a chart. Pure.

/** A round number at or above `most`, and the lines up to it: about `lines` of them, 0 included. */
export function axis(most, lines = 4) {
    if (!(most > 0)) {
        return { top: 1, ticks: [0, 1] };
    }
    const rough = most / lines;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = Math.max(1, [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough * 0.999));
    const ticks = [];
    for (let tick = 0; tick < most + step; tick += step) {
        ticks.push(tick);
        if (tick >= most) {
            break;
        }
    }
    return { top: ticks.at(-1), ticks };
}

/** Which labels of `count` columns are shown, so that each has `room` columns for itself. */
export function labelled(count, room) {
    const every = Math.max(1, Math.ceil(room));
    return Array.from({ length: Math.ceil(count / every) }, (_, number) => number * every);
}

/** Counts by column and series as pieces that stand on each other.
 *
 * Args: series: keys, the lowest first. cells: Map of `key` to a list of counts by column.
 * Returns: for each column its pieces, {key, count, from, to}, those without a count left out.
 */
export function stacked(series, cells, columns) {
    return Array.from({ length: columns }, (_, column) => {
        let height = 0;
        const pieces = [];
        for (const key of series) {
            const count = cells.get(key)?.[column] ?? 0;
            if (count > 0) {
                pieces.push({ key, count, from: height, to: height + count });
                height += count;
            }
        }
        return pieces;
    });
}

/** Rows of the panel over-time as counts by column: {series, cells, totals}. Classes come first, the most frequent lowest. */
export function byColumn(starts, rows, mostSeries = 10) {
    const place = new Map(starts.map((start, number) => [start, number]));
    const classes = new Map();
    const states = new Map();
    const totals = starts.map(() => 0);
    for (const [start, status, name, images] of rows) {
        const column = place.get(start);
        if (column === undefined) {
            continue;
        }
        const [group, key] = name === null ? [states, status] : [classes, name];
        if (!group.has(key)) {
            group.set(key, starts.map(() => 0));
        }
        group.get(key)[column] += images;
        totals[column] += images;
    }
    const size = (counts) => counts.reduce((sum, count) => sum + count, 0);
    const ranked = [...classes].sort((a, b) => size(b[1]) - size(a[1]) || (a[0] < b[0] ? -1 : 1));
    const cells = new Map();
    const series = [];
    for (const [name, counts] of ranked.slice(0, mostSeries)) {
        const key = `class:${name}`;
        series.push({ key, kind: 'class', name, images: size(counts) });
        cells.set(key, counts);
    }
    const rest = ranked.slice(mostSeries);
    if (rest.length) {
        const counts = starts.map((_, column) => rest.reduce((sum, [, one]) => sum + one[column], 0));
        series.push({ key: 'other', kind: 'other', name: `${rest.length} other classes`, images: size(counts) });
        cells.set('other', counts);
    }
    for (const name of ['accepted', 'classified', 'rejected', 'failed']) {
        if (states.has(name)) {
            const counts = states.get(name);
            series.push({ key: `status:${name}`, kind: 'status', name, images: size(counts) });
            cells.set(`status:${name}`, counts);
        }
    }
    return { series, cells, totals };
}

/** Where a value lies on a logarithmic scale from `least` to `most`: 0 to 1. */
export function logPlace(value, least, most) {
    if (!(value > 0) || !(most > least)) {
        return 0;
    }
    return Math.min(1, Math.max(0, Math.log(value / least) / Math.log(most / least)));
}

export const ENOUGH = 50; // images: the index of fewer says what chance did

export const LEVELS = { unknown: 'unknown', few: 'too few images to judge', steady: 'steady', moving: 'moving', drifted: 'drifted' };

/** What the stability index of so many images says, by the usual rule: one of LEVELS. `images` undefined: nobody knows how many. */
export function driftLevel(index, images) {
    if (index === null || index === undefined || images === undefined || Number.isNaN(images)) {
        return 'unknown';
    }
    if (images < ENOUGH) {
        return 'few';
    }
    return index < 0.1 ? 'steady' : index <= 0.25 ? 'moving' : 'drifted';
}
