// Images over time, by class: a click on a column shows that stretch alone.

import { columnChart } from './charts.js';
import { colourOf } from './colours.js';
import { foreign, h } from './dom.js';
import { countText } from './numbers.js';
import { byColumn, stacked } from './scales.js';
import { figure, nothing, pick, table } from './tables.js';
import { bucketText } from './times.js';

const LINE = 24; // pixels

export function overTime(answer, context) {
    const { starts } = answer.facts;
    const { series, cells, totals } = byColumn(starts, answer.rows);
    if (!series.length) {
        return [nothing('No images in this period')];
    }
    const ends = starts.map((start, number) => starts[number + 1] ?? endOf(starts, answer.period.until));
    const named = new Map(series.map((one) => [one.key, one]));
    const columns = stacked(series.map(({ key }) => key), cells, starts.length).map((pieces, number) => ({
        ...bucketText(starts[number], ends[number], context.tz),
        key: `column:${starts[number]}`,
        total: totals[number],
        said: `${countText(totals[number])} images`,
        pieces: pieces.map(({ key, count, from, to }) => ({
            from, to, count, name: named.get(key).name, colour: colourFor(named.get(key)),
        })),
    }));
    const legend = h('ul', { class: 'legend', 'aria-label': 'Classes of the chart' }, series.map((one) =>
        h('li', {}, one.kind === 'class'
            ? pick(context, 'class', one.name, { swatch: colourOf(one.name), key: 'legend' })
            : one.kind === 'status'
                ? pick(context, 'status', one.name, { swatch: colourFor(one), key: 'legend' })
                : h('span', { class: 'pick' }, h('i', { class: 'swatch c-other' }), one.name))));
    if (context.asTable) {
        return [table('Images over time',
            [{ title: 'When' }, { title: 'Images', kind: 'number' },
                ...series.map(({ name }) => ({ title: foreign(name), kind: 'number' }))],
            columns.map((column, number) => [
                column.long, figure(column.total, countText(column.total)),
                ...series.map(({ key }) => countText(cells.get(key)[number])),
            ]))];
    }
    return [
        columnChart({
            columns, width: context.width, height: Math.max(160, context.height - 16 - LINE * linesOf(series, context.width)),
            label: 'Images over time by class; arrow keys go from column to column, Enter shows one alone',
            onPick: (number) => context.range(starts[number], ends[number]),
        }),
        legend,
    ];
}

/** How many lines the legend takes, about: the chart gives them room. */
function linesOf(series, width) {
    const letters = series.reduce((sum, { name }) => sum + Math.min(150, name.length * 6.6 + 29), 0);
    return Math.ceil(letters / Math.max(1, width - 60));
}

function endOf(starts, until) {
    if (starts.length < 2) {
        return until;
    }
    const width = new Date(starts.at(-1)) - new Date(starts.at(-2));
    return new Date(new Date(starts.at(-1)).getTime() + width).toISOString();
}

function colourFor({ kind, name }) {
    return kind === 'class' ? colourOf(name) : kind === 'status' ? `s-${name}` : 'c-other';
}
