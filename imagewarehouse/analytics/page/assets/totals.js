// The row of figures: what came, what became of it, and how that was before.

import { h } from './dom.js';
import { bytesText, changeText, countText, decimalText, NONE, shareText, TIMES } from './numbers.js';
import { figure, short } from './tables.js';

const MEASURES = [
    { name: 'images', label: 'Images' },
    { name: 'classified', label: 'Classified', status: 'classified' },
    { name: 'rejected', label: 'Rejected', status: 'rejected', bad: true },
    { name: 'failed', label: 'Failed', status: 'failed', bad: true },
    { name: 'pictures', label: 'Distinct pictures' },
    { name: 'sources', label: 'Sources' },
    { name: 'bytes', label: 'Received', text: bytesText },
    { name: 'confidence', label: 'Mean confidence', text: (value) => shareText(value), points: true },
];

export function totals(answer, context) {
    const found = Object.fromEntries(answer.rows.map(([name, value, before, change]) => [name, { value, before, change }]));
    return tiles(context, ({ name, bad, text = countText, points }) => {
        const { value, before, change } = found[name] ?? { value: null, before: null, change: null };
        return [h('strong', {}, figure(value, text(value))), difference({ value, before, change, text, bad, points })];
    });
}

/** The same row where the service gave no answer. */
export function unanswered(context) {
    return tiles(context, () => [h('strong', {}, figure(null, NONE)), h('span', { class: 'difference' }, 'not answered')]);
}

function tiles(context, figuresOf) {
    return MEASURES.map((measure) => {
        const { name, label, status } = measure;
        const inside = [h('span', { class: 'label' }, label), figuresOf(measure)];
        return h('li', { data: { measure: name } }, status
            ? h('button', {
                type: 'button', class: 'tile', 'aria-pressed': String(context.state.filters.status.includes(status)),
                data: { key: `tile:${name}` }, on: { click: () => context.toggle('status', status) },
            }, inside)
            : h('div', { class: 'tile' }, inside));
    });
}

function difference({ value, before, change, text, bad, points }) {
    let [shown, way, said] = [null, 0, ['more', 'less']];
    if (points && value !== null && before !== null) {
        way = Math.sign(Math.round((value - before) * 1000));
        shown = [decimalText(Math.abs(value - before) * 100, 1), ' ', short('pp', 'percentage points')];
    } else if (change !== null) {
        way = Math.abs(change) < 0.0005 ? 0 : Math.sign(change); // what is shown as 0 has no direction
        shown = changeText(change, undefined, 'never');
        said = change >= TIMES ? ['as many', ''] : said;
    }
    const arrow = way > 0 ? '\u2191' : way < 0 ? '\u2193' : '';
    const mood = way === 0 || !(bad || points) ? '' : (way > 0) === Boolean(bad) ? ' worse' : ' better';
    return h('span', { class: 'difference' },
        shown ? h('span', { class: `change${mood}` }, arrow ? h('span', { 'aria-hidden': 'true' }, arrow) : null, shown,
            way ? h('span', { class: 'unseen' }, ` ${said[way > 0 ? 0 : 1]}`) : null) : null,
        h('span', { class: 'was' }, before === null ? 'none before' : `was ${text(before)}`));
}
