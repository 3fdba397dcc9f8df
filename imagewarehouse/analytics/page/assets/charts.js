// Columns that stand on an axis, as SVG: each is a button with a name, the arrow keys go from one to the next.

import { h, s, byId, foreign } from './dom.js';
import { compactText, countText } from './numbers.js';
import { axis, labelled } from './scales.js';

const LEFT = 38;
const RIGHT = 4;
const TOP = 8;
const BOTTOM = 22;

/** A chart of columns.
 *
 * Args:
 *   columns: [{key, short, long, total, pieces: [{from, to, colour, name, count}]}]; `colour` is a class of page.css
 *   label: what a screen reader calls it
 *   onPick: (column number) => void, at a click or Enter
 *   marker: {at, name}: a line at a place from 0 to 1 of the width
 *   every: labels stand at multiples of it only
 *   middle: labels stand under the middle of a column, not where it begins
 */
export function columnChart({ columns, width, height, label, onPick, marker = null, middle = true, every = 1, chosen = null }) {
    const { top, ticks } = axis(Math.max(0, ...columns.map(({ total }) => total)));
    const across = Math.max(1, width - LEFT - RIGHT);
    const down = height - TOP - BOTTOM;
    const band = across / Math.max(1, columns.length);
    const gap = band > 12 ? Math.min(6, band * 0.18) : band > 4 ? 1 : 0.25;
    const y = (count) => TOP + down * (1 - count / top);
    const svg = s('svg', { class: 'chart', viewBox: `0 0 ${width} ${height}`, height, role: 'group', 'aria-label': label });
    svg.append(
        s('g', { class: 'axis', 'aria-hidden': 'true' }, ticks.map((tick) => [
            s('line', { x1: LEFT, x2: width - RIGHT, y1: Math.round(y(tick)) + 0.5, y2: Math.round(y(tick)) + 0.5 }),
            s('text', { x: LEFT - 7, y: y(tick) + 3.5, 'text-anchor': 'end' }, compactText(tick)),
        ])),
    );
    columns.forEach((column, number) => {
        const left = LEFT + number * band;
        const group = s(
            'g',
            {
                class: `column${chosen === number ? ' chosen' : ''}`,
                role: 'button',
                'aria-disabled': column.total > 0 || chosen === number ? null : 'true', // what is empty would empty the page
                tabindex: number === (chosen ?? columns.length - 1) ? 0 : -1,
                'aria-label': `${column.long}: ${column.said ?? countText(column.total)}`,
                data: { key: column.key, number },
            },
            s('rect', { class: 'hit', x: left, y: TOP, width: band, height: down }),
            column.pieces.map((piece) => {
                const rise = y(piece.to);
                const tall = Math.max(0.75, y(piece.from) - rise);
                return s('rect', { class: piece.colour, x: left + gap / 2, y: rise, width: Math.max(0.5, band - gap), height: tall });
            }),
        );
        svg.append(group);
    });
    const widest = Math.max(1, ...columns.map(({ short }) => short.length)) * 6.4 + 12;
    svg.append(s('g', { class: 'axis', 'aria-hidden': 'true' }, labelled(columns.length, Math.ceil(widest / band / every) * every).map((number) =>
        s('text', {
            x: Math.min(width - widest / 2, LEFT + (number + (middle ? 0.5 : 0)) * band),
            y: height - 6, 'text-anchor': 'middle',
        }, columns[number].short))));
    if (marker) {
        const x = LEFT + marker.at * across;
        svg.append(s('g', { class: 'marker', 'aria-hidden': 'true' },
            s('line', { x1: x, x2: x, y1: TOP - 4, y2: height - BOTTOM }),
            s('text', { x: x + (marker.at > 0.8 ? -5 : 5), y: TOP + 5, 'text-anchor': marker.at > 0.8 ? 'end' : 'start' }, marker.name)));
    }
    listen(svg, columns, onPick);
    return svg;
}

function listen(svg, columns, onPick) {
    const groupAt = (target) => target.closest?.('.column');
    const pick = (group) => {
        if (group && group.getAttribute('aria-disabled') !== 'true') {
            onPick(Number(group.dataset.number));
        }
    };
    svg.addEventListener('click', ({ target }) => {
        pick(groupAt(target));
    });
    svg.addEventListener('keydown', (event) => {
        const group = groupAt(event.target);
        if (!group) {
            return;
        }
        if (event.key === 'Enter' || event.key === ' ') {
            event.preventDefault();
            pick(group);
            return;
        }
        const all = [...svg.querySelectorAll('.column')];
        const now = all.indexOf(group);
        const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: all.length - 1 }[event.key];
        if (next !== undefined && all[next]) {
            event.preventDefault();
            group.setAttribute('tabindex', '-1');
            all[next].setAttribute('tabindex', '0');
            all[next].focus();
        }
    });
    const tell = (event) => {
        const group = groupAt(event.target);
        if (group) {
            showTip(group, columns[Number(group.dataset.number)]);
        } else {
            hideTip();
        }
    };
    svg.addEventListener('pointermove', tell);
    svg.addEventListener('focusin', tell);
    svg.addEventListener('pointerleave', hideTip);
    svg.addEventListener('focusout', hideTip);
}

function showTip(group, column) {
    const tip = byId('tip');
    const pieces = [...column.pieces].reverse();
    tip.replaceChildren(
        h('p', {}, h('b', {}, column.long), h('span', {}, countText(column.total))),
        ...pieces.slice(0, 12).filter(({ name }) => name).map(({ name, colour, count }) =>
            h('p', {}, h('i', { class: `swatch ${colour}` }), foreign(name), h('span', {}, countText(count)))),
    );
    tip.hidden = false;
    const bar = group.querySelector('.hit').getBoundingClientRect();
    const { width, height } = tip.getBoundingClientRect();
    const right = bar.right + 8;
    const left = right + width < window.innerWidth - 8 ? right : bar.left - width - 8;
    tip.style.left = `${Math.max(8, Math.min(left, window.innerWidth - width - 8))}px`;
    tip.style.top = `${Math.max(8, Math.min(bar.top, window.innerHeight - height - 8))}px`;
}

export function hideTip() {
    byId('tip').hidden = true;
}

/** What stands in a cell, over a bar as long as its share of 0 to 1. */
export function barred(share, colour, content) {
    return h('div', { class: 'barred' },
        h('i', { class: `under ${colour}`, 'aria-hidden': 'true', percent: Math.max(0, Math.min(1, share || 0)) * 100 }), content);
}

/** A bar in a cell of a table; `share` of 0 to 1. Seen only: the cell says the number. */
export function meter(share, colour = 'c-plain', ...marks) {
    return h('span', { class: 'meter', 'aria-hidden': 'true' },
        h('i', { class: colour, percent: Math.max(0, Math.min(1, share || 0)) * 100 }),
        marks.map(({ at, kind }) => h('i', { class: `mark ${kind}`, percent: Math.max(0, Math.min(1, at)) * 100 })));
}
