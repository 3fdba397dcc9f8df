// What stands above the figures: period, range, zone, filters, whether the page is live, light or dark.

import { colourOf } from './colours.js';
import { byId, foreign, h, say } from './dom.js';
import { decimalText } from './numbers.js';
import * as states from './state.js';
import { browserZone, fromWall, offsetText, rangeText, toWall, zones } from './times.js';

const SHOWN = 40; // characters of what a link said
const MOST_LEFT_OUT = 4; // of it, in one line
const ABOUT_TO_CHOOSE = ['pointerenter', 'pointerdown', 'focus'];

/** `context`: state, tz, change(state). Called once. */
export function listenToHeader(context) {
    const periods = byId('periods');
    for (const { name, label, means } of states.PERIODS) {
        periods.append(h('label', {}, h('input', { type: 'radio', name: 'period', value: name, title: means }), h('span', {}, label)));
    }
    periods.addEventListener('change', ({ target }) => context.change(states.withPeriod(context.state, target.value)));
    listenToRange(context);
    listenToZone(context);
    listenToTheme();
    byId('search').addEventListener('submit', (event) => {
        event.preventDefault();
        context.change({ ...context.state, q: event.target.q.value.trim() });
    });
    byId('search').q.addEventListener('search', ({ target }) => { // the cross in the field
        if (!target.value && context.state.q) {
            context.change({ ...context.state, q: '' });
        }
    });
    document.querySelector('[data-home]').addEventListener('click', (event) => {
        if (!event.ctrlKey && !event.metaKey && !event.shiftKey) {
            event.preventDefault();
            context.change({ ...states.initial(), tz: context.state.tz });
        }
    });
    document.addEventListener('keydown', (event) => {
        const writes = event.target.closest?.('input, select, textarea, [contenteditable], dialog');
        if (event.key === '/' && !writes && !byId('search').hidden && !event.ctrlKey && !event.metaKey && !event.altKey) {
            event.preventDefault();
            byId('search').q.focus();
        }
    });
}

function listenToRange(context) {
    const range = byId('range');
    const form = range.querySelector('form');
    const problem = form.querySelector('.problem');
    range.addEventListener('toggle', () => {
        if (range.open && context.period) {
            form.since.value = toWall(context.period.since, context.tz);
            form.until.value = toWall(context.period.until, context.tz);
            problem.textContent = '';
            form.since.focus();
        }
    });
    form.addEventListener('submit', (event) => {
        event.preventDefault();
        const [since, until] = [fromWall(form.since.value, context.tz), fromWall(form.until.value, context.tz)];
        problem.textContent = problemOfRange(since, until);
        if (problem.textContent) {
            return;
        }
        range.open = false;
        context.change(states.withRange(context.state, since, until));
    });
    document.addEventListener('click', ({ target }) => {
        if (range.open && !range.contains(target)) {
            range.open = false;
        }
    });
    range.addEventListener('keydown', ({ key }) => {
        if (key === 'Escape') {
            range.open = false;
            range.querySelector('summary').focus();
        }
    });
}

function problemOfRange(since, until) {
    if (!since || !until) {
        return `The ${since ? 'end' : 'beginning'} is no time from 1900 to 9998.`;
    }
    const wrong = states.rangeProblem(Date.parse(since), Date.parse(until));
    return wrong ? `The range ${wrong}.` : '';
}

function listenToZone(context) {
    const select = byId('zone');
    const own = browserZone();
    // The clock of each of 400 zones takes a quarter of a second: when somebody is about to choose one, not before the figures.
    const offer = () => {
        for (const type of ABOUT_TO_CHOOSE) {
            select.removeEventListener(type, offer);
        }
        const chosen = select.value;
        select.replaceChildren(...zones(own, chosen).map(zoneOption));
        select.value = chosen;
    };
    for (const type of ABOUT_TO_CHOOSE) {
        select.addEventListener(type, offer);
    }
    select.addEventListener('change', () => context.change({ ...context.state, tz: select.value === own ? null : select.value }));
}

function zoneOption(name) {
    return h('option', { value: name }, zoneText(name));
}

function zoneText(name) {
    return `${name.replaceAll('_', ' ')} (${offsetText(Date.now(), name)})`;
}

function listenToTheme() {
    const root = document.documentElement;
    const system = matchMedia('(prefers-color-scheme: dark)');
    const isDark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : system.matches);
    const button = byId('theme');
    const name = () => button.setAttribute('aria-label', isDark() ? 'Light colours' : 'Dark colours');
    button.addEventListener('click', () => {
        const next = isDark() ? 'light' : 'dark';
        const follows = (next === 'dark') === system.matches;
        if (follows) {
            delete root.dataset.theme; // as the system has it, also when that changes in the evening
        } else {
            root.dataset.theme = next;
        }
        try {
            if (follows) {
                localStorage.removeItem('theme');
            } else {
                localStorage.setItem('theme', next);
            }
        } catch {
            // storage is switched off: for this visit only
        }
        name();
    });
    system.addEventListener('change', name);
    name();
}

/** Shows the state in the header. */
export function showState(context) {
    const { state } = context;
    for (const input of byId('periods').querySelectorAll('input')) {
        input.checked = input.value === state.period;
    }
    document.title = `${states.labelOf(state)} \u00b7 Image Warehouse`;
    byId('range').classList.toggle('chosen', state.period === null);
    byId('zone').value = context.tz;
    if (byId('zone').value !== context.tz) { // not offered yet, or a link names one that this browser does not know
        byId('zone').append(zoneOption(context.tz));
        byId('zone').value = context.tz;
    }
    byId('search').q.value = state.q;
    const chips = [];
    for (const { name, label } of states.FILTERS) {
        for (const value of state.filters[name]) {
            const swatch = name === 'class' ? h('i', { class: `swatch ${colourOf(value)}` }) : null;
            const shown = name === 'image' ? `${value.slice(0, 12)}\u2026` : value;
            chips.push(chip(`${name}:${value}`, label, [swatch, foreign(shown)], () => context.change(states.toggled(context.state, name, value))));
        }
    }
    if (state.minConfidence !== null || state.maxConfidence !== null) {
        const text = `${decimalText(state.minConfidence ?? 0)}\u2013${decimalText(state.maxConfidence ?? 1)}`;
        chips.push(chip('confidence', 'Confidence', text, () => context.change(states.withConfidence(context.state, null, null))));
    }
    if (state.q) {
        chips.push(chip('q', 'Search', [foreign(state.q), h('span', { class: 'quiet' }, 'only in the list')], () => context.change({ ...context.state, q: '' })));
    }
    if (chips.length > 1) {
        chips.push(h('button', { type: 'button', class: 'plain', data: { key: 'clear' }, on: {
            click: () => context.change({ ...states.withoutFilters(context.state), q: '' }),
        } }, 'Clear all'));
    }
    byId('chips').replaceChildren(...chips);
    byId('chips').hidden = !chips.length;
}

function chip(key, label, content, remove) {
    return h('button', { type: 'button', class: 'chip filter', data: { key }, on: { click: remove } },
        h('span', { class: 'unseen' }, 'Remove the filter '), h('span', { class: 'quiet' }, label), ' ', content,
        h('span', { class: 'cross', 'aria-hidden': 'true' }, '\u00d7'));
}

/** The stretch that an answer is about, and the one that it is compared with. */
export function showStretch({ since, until, before, before_until: beforeUntil }, tz) {
    byId('stretch').replaceChildren(
        h('b', {}, rangeText(since, until, tz)), h('span', {}, ` compared with ${rangeText(before, beforeUntil, tz)}`),
        h('span', { class: 'printed' }, `, times of ${zoneText(tz)}`));
}

/** The period that was asked for, where nobody has said yet from when to when it is, and what became of the question. */
export function showAsked({ state, tz }, fate) {
    const asked = state.since ? rangeText(state.since, state.until ?? Date.now(), tz) : states.labelOf(state);
    byId('stretch').replaceChildren(h('b', {}, asked), h('span', {}, ` ${fate}`));
}

/** What a link said and the page could not understand, in one line; `leftOut` as states.fromQuery gives it. */
export function showLeftOut(leftOut) {
    const place = byId('left-out');
    place.hidden = !leftOut.length;
    const shown = leftOut.slice(0, MOST_LEFT_OUT);
    place.replaceChildren('The link\u2019s ', ...shown.flatMap(({ name, value, why, instead }, number) => [
        number ? '; ' : '', foreign(name.slice(0, SHOWN)), ' ',
        ...(value ? ['\u2018', foreign(value.length > SHOWN ? `${value.slice(0, SHOWN)}\u2026` : value), '\u2019 '] : []),
        why, instead ? `, shown is ${instead}` : ', left out',
    ]), leftOut.length > shown.length ? `; and ${leftOut.length - shown.length} more.` : '.');
}

let lastKind = null;

/** `kind`: now, still (the period is over), paused, late (what is shown is old), away. */
export function showLive(kind, text) {
    const live = byId('live');
    live.className = `live ${kind}`;
    const span = live.querySelector('span');
    if (span.textContent !== text) {
        live.setAttribute('aria-live', kind === lastKind ? 'off' : 'polite'); // the clock is not read aloud each second
        span.textContent = text;
    }
    lastKind = kind;
}

export { say };
