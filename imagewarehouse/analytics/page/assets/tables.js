// Tables and what stands in their cells.

import { foreign, h } from './dom.js';
import { countText } from './numbers.js';
import { agoText, dateTimeText } from './times.js';

/** A table. `columns`: [{title, kind, unseen, means}], kind one of text, number, wide, bar. `rows`: lists of cells, or {cells, class}. */
export function table(caption, columns, rows, props = {}) {
    return h('table', props,
        h('caption', { class: 'unseen' }, caption),
        h('thead', {}, h('tr', {}, columns.map(({ title, kind, unseen, means }) =>
            h('th', { scope: 'col', class: kind ?? 'text' },
                unseen ? h('span', { class: 'unseen' }, title) : means ? short(title, means) : title)))),
        h('tbody', {}, rows.map((row) => {
            const cells = row.cells ?? row;
            return h('tr', { class: row.class }, cells.map((cell, number) =>
                h(number ? 'td' : 'th', { scope: number ? null : 'row', class: columns[number].kind ?? 'text' }, cell)));
        })));
}

/** A number that programs can read, too. */
export function figure(value, text) {
    return h('data', { value: value ?? '' }, text);
}

/** A value that filters when it is clicked. `swatch`: a class of page.css for a colour before it. */
export function pick(context, filter, value, { text = value, swatch = null, key = '' } = {}) {
    if (value === null || value === undefined || value === '') {
        return h('span', { class: 'none' }, '\u2013');
    }
    const long = value.length > 300; // the service takes no longer one
    const content = [swatch ? h('i', { class: `swatch ${swatch}` }) : null, foreign(text)];
    if (long) {
        return h('span', { class: 'pick' }, content);
    }
    return h('button', {
        type: 'button', class: 'pick', 'aria-pressed': String(context.state.filters[filter].includes(value)),
        data: { key: `${filter}:${value}:${key}` },
        on: { click: () => context.toggle(filter, value) },
    }, content);
}

/** A short name, with the long one where the pointer rests and for who listens. */
export function short(text, means) {
    return h('abbr', { title: means }, h('span', { 'aria-hidden': 'true' }, text), h('span', { class: 'unseen' }, means));
}

/** Under a list that ends before its end: how many are `shown` of `all`. Nothing under a whole one. */
export function cut({ length: shown }, all) {
    return all > shown ? h('p', { class: 'cut' }, `${countText(shown)} of ${countText(all)}, the most frequent`) : null;
}

export function nothing(text) {
    return h('p', { class: 'nothing' }, text);
}

/** Rows of an answer as objects by the names of its columns. */
export function objects({ columns, rows }) {
    return rows.map((row) => Object.fromEntries(columns.map(({ name }, number) => [name, row[number]])));
}

/** A time as how long ago it was; the whole of it where the pointer rests. */
export function since(moment, tz) {
    const seconds = (Date.now() - new Date(moment)) / 1000;
    return h('time', { datetime: moment, title: dateTimeText(moment, tz) }, agoText(seconds));
}
