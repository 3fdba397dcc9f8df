// The row of figures: what came, what became of it, and how that was before.

import { h } from './dom.js';
import { bytesText, changeText, countText, decimalText, shareText } from './numbers.js';
import { figure } from './tables.js';

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
    return MEASURES.map(({ name, label, status, bad, text = countText, points }) => {
        const { value, before, change } = found[name] ?? { value: null, before: null, change: null };
        const inside = [
            h('span', { class: 'label' }, label),
            h('strong', {}, figure(value, text(value))),
            difference({ value, before, change, text, bad, points }),
        ];
        return h('li', { data: { measure: name } }, status
            ? h('button', {
                type: 'button', class: 'tile', 'aria-pressed': String(context.state.filters.status.includes(status)),
                data: { key: `tile:${name}` }, on: { click: () => context.toggle('status', status) },
            }, inside)
            : h('div', { class: 'tile' }, inside));
    });
}

function difference({ value, before, change, text, bad, points }) {
    let [shown, way] = [null, 0];
    if (points && value !== null && before !== null) {
        way = Math.sign(Math.round((value - before) * 1000));
        shown = `${way > 0 ? '+' : way < 0 ? '\u2212' : ''}${decimalText(Math.abs(value - before) * 100, 1)} pp`;
    } else if (change !== null) {
        way = Math.sign(change);
        shown = changeText(change);
    }
    const arrow = way > 0 ? '\u2191' : way < 0 ? '\u2193' : '';
    const mood = way === 0 || !(bad || points) ? '' : (way > 0) === Boolean(bad) ? ' worse' : ' better';
    return h('span', { class: 'difference' },
        shown ? h('span', { class: `change${mood}` }, arrow ? h('span', { 'aria-hidden': 'true' }, arrow) : null, shown) : null,
        h('span', { class: 'was' }, before === null ? 'none before' : `was ${text(before)}`));
}
