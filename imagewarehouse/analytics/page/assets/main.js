// The page as a whole: one state, in the address; the panels that show it; and what keeps them fresh.

import { ApiError, hasNoSearch, knock, onKeyNeeded, panelOf, serves } from './api.js';
import { classes, classesNote } from './classes.js';
import { listenForPictures } from './classify.js';
import { hideTip } from './charts.js';
import { learn, orderOf } from './colours.js';
import { confidence } from './confidence.js';
import { byId, h, replace, say } from './dom.js';
import { drift, driftNote } from './drift.js';
import { duplicates, SHOWN as DUPLICATES } from './duplicates.js';
import { hideEmpty, showElsewhere, showFirstSteps } from './empty.js';
import { listenToHeader, showAsked, showLeftOut, showLive, showState, showStretch } from './header.js';
import { askForKey } from './keys.js';
import { found, latest, PAGE } from './latest.js';
import { latency } from './latency.js';
import { models } from './models.js';
import { overTime } from './over-time.js';
import { rejections } from './rejections.js';
import { showRequest } from './request.js';
import { sources, SHOWN as SOURCES } from './sources.js';
import * as states from './state.js';
import { together } from './together.js';
import { agoText, browserZone, timeText } from './times.js';
import { totals, unanswered } from './totals.js';

const EVERY_MS = 2500; // how often a period that is not over is asked about
const SLOW_MS = 1000; // from then on a question says that what is shown is not its answer
const TOGETHER_MS = 100; // answers that come so close to each other are drawn at once: the whole page is laid out and painted each time
const LATE_S = 15; // from then on figures count as old
const GRID = [
    { name: 'over-time', title: 'Images over time', render: overTime, hasTable: true },
    { name: 'classes', title: 'Classes', render: classes, note: classesNote },
    { name: 'confidence', title: 'Confidence', render: confidence, hasTable: true },
    { name: 'latency', title: 'Latency', render: latency },
    { name: 'rejections', title: 'Rejected and failed', render: rejections },
    { name: 'sources', title: 'Sources and users', render: sources },
    { name: 'drift', title: 'Drift', render: drift, note: driftNote },
    { name: 'models', title: 'Model versions', render: models },
    { name: 'duplicates', title: 'Duplicates', render: duplicates },
];
const ALL = ['drift', 'totals', 'over-time', 'classes', 'confidence', 'latency', 'rejections', 'sources', 'models', 'duplicates', 'latest'];
const LIMITS = { latest: PAGE, classes: 50, sources: SOURCES, duplicates: DUPLICATES };

const answers = new Map(); // the newest answer by panel
const drawn = new Map(); // what a panel shows now, as text: what did not change is not drawn again
const tables = new Set(); // panels that are shown as a table
let asked = 0; // number of the question: an answer to an earlier one is not shown
let stop = new AbortController();
let slow = null; // the timer of a question that takes long
let changedAt = ''; // when the totals were asked that were the first to have their figures: an older answer lacks something
let trouble = null; // what the newest questions failed of
let tellColours;
const coloursKnown = new Promise((resolve) => {
    tellColours = resolve;
});

const context = {
    state: states.initial(),
    period: null,
    get tz() {
        return context.state.tz ?? browserZone();
    },
    get address() {
        return context.parameters().toString();
    },
    parameters() {
        return states.toParameters(context.state, browserZone());
    },
    change(state, { replace: inPlace = false } = {}) {
        if (states.toQuery(state) === states.toQuery(context.state)) {
            return;
        }
        context.state = state;
        history[inPlace ? 'replaceState' : 'pushState'](null, '', addressOf(state));
        showLeftOut([]);
        show();
    },
    toggle(filter, value) {
        const next = states.toggled(context.state, filter, value);
        say(next.filters[filter].includes(value) ? `Only ${value}` : `Without the filter ${value}`);
        context.change(next);
    },
    only(filter, value) {
        const next = context.state.filters[filter].includes(value) ? context.state : states.toggled(context.state, filter, value);
        context.change({ ...next, request: null });
    },
    range(since, until) {
        context.change(states.withRange(context.state, since, until));
    },
    confidence(least, most) {
        const { minConfidence, maxConfidence } = context.state;
        const same = minConfidence === least && maxConfidence === most;
        context.change(same ? states.withConfidence(context.state, null, null) : states.withConfidence(context.state, least, most));
    },
    threshold(text) {
        const value = Number(text);
        if (text.trim() !== '' && value >= 0 && value <= 1) {
            context.change({ ...context.state, threshold: value });
        }
    },
    open(requestId) {
        context.change({ ...context.state, request: requestId });
    },
    refresh() {
        refresh(true);
    },
};

// --- panels -----------------------------------------------------------------------------------------------------------

function makePanels() {
    for (const { name, title, hasTable } of GRID) {
        const switcher = hasTable
            ? h('button', { type: 'button', class: 'plain small', 'aria-pressed': 'false', on: { click: ({ currentTarget }) => {
                const on = !tables.delete(name) && Boolean(tables.add(name));
                currentTarget.setAttribute('aria-pressed', String(on));
                drawn.delete(name);
                draw(name);
            } } }, 'Table', h('span', { class: 'unseen' }, ` of ${title}`))
            : null;
        byId('grid').append(h('section', { class: 'panel', id: `panel-${name}`, 'aria-labelledby': `title-${name}` },
            h('header', {}, h('h2', { id: `title-${name}` }, title), h('p', { class: 'note' }), switcher),
            h('div', { class: 'body', tabindex: 0, role: 'group', 'aria-labelledby': `title-${name}` }, h('p', { class: 'nothing' }, ''))));
    }
}

function draw(name) {
    const answer = answers.get(name);
    if (!answer) {
        return;
    }
    const { render, note, hasTable } = GRID.find((panel) => panel.name === name) ?? {};
    const [width, height] = hasTable ? rooms().get(name) : [];
    if (width <= 0) {
        return; // hidden: showPanels draws it later
    }
    const text = JSON.stringify([answer.rows, answer.facts, answer.period?.until?.slice(0, 16), context.state, context.tz, tables.has(name), width, height]);
    if (drawn.get(name) === text) {
        return;
    }
    drawn.set(name, text);
    if (name === 'totals') {
        replace(byId('totals'), totals(answer, context));
        return;
    }
    if (name === 'latest') {
        if (!context.state.q) {
            latest(answer, context);
        }
        return;
    }
    const panel = byId(`panel-${name}`);
    const body = panel.querySelector('.body');
    panel.querySelector('.note').textContent = note?.(answer, context) ?? '';
    const inside = Object.create(context, { width: { value: width }, height: { value: height }, asTable: { value: tables.has(name) } });
    replace(body, render(answer, inside));
    panel.classList.remove('failed');
}

let measured = null;

/** The room that each chart has. To ask for it after something was drawn lays out the whole page: once for what is drawn together. */
function rooms() {
    if (!measured) {
        measured = new Map(GRID.filter(({ hasTable }) => hasTable).map(({ name }) => {
            const body = document.querySelector(`#panel-${name} .body`);
            const style = getComputedStyle(body);
            return [name, [body.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight), body.clientHeight]];
        }));
        setTimeout(() => {
            measured = null;
        });
    }
    return measured;
}

/** Whether there are panels to be seen. While they are hidden, charts are not drawn. */
function showPanels(there) {
    const were = !document.body.classList.contains('no-figures');
    document.body.classList.toggle('no-figures', !there);
    if (there && !were) {
        measured = null;
        drawAgain();
    }
}

function showFailure(name, error) {
    if (answers.has(name) && answers.get(name).address === context.address) {
        return; // what stands there is old, and the header says how old
    }
    drawn.delete(name);
    if (name === 'totals') { // those of another question would be taken for the answer to this one
        replace(byId('totals'), unanswered(context));
        clearTimeout(slow);
        showAsked(context, 'was not answered');
        hideEmpty();
        showPanels(true);
        return;
    }
    if (name === 'latest' && context.state.q) {
        return; // what a search found stands there
    }
    const panel = byId(`panel-${name}`);
    panel.querySelector('.note').textContent = '';
    panel.querySelector('.body').replaceChildren(h('p', { class: 'problem' }, error.message, ' ',
        h('button', { type: 'button', on: { click: () => refresh(true) } }, 'Try again')));
}

// --- asking -----------------------------------------------------------------------------------------------------------

/** Asks for panels and draws them. Resolves to what failed; to nothing where the question is an old one by then. */
async function ask(names, number) {
    const { address } = context;
    const { signal } = stop;
    const failures = [];
    const turn = together(names.length, TOGETHER_MS, rooms); // which measures before anything is drawn
    const coloured = names.includes('drift') ? one('drift') : Promise.resolve();
    await Promise.all([coloured, ...names.filter((name) => name !== 'drift').map(one)]);
    return number === asked ? failures : [];

    async function one(name) {
        const parameters = context.parameters();
        if (LIMITS[name]) {
            parameters.set('limit', LIMITS[name]);
        }
        try {
            const answer = await panelOf(name, parameters, { signal }).finally(turn);
            if (name !== 'drift') {
                await coloured; // classes have their colours from there
            }
            if (number !== asked) {
                return;
            }
            if (name === 'drift') {
                learn(orderOf(answer.rows));
                tellColours();
                showState(context); // chips have their colours now
            }
            Object.assign(answer, { address, fresh: Date.now() - answer.age_s * 1000 });
            const before = figuresNow();
            answers.set(name, answer);
            if (name === 'totals' && before !== figuresNow()) {
                changedAt = answer.as_of;
            }
            draw(name);
            if (name === 'totals') {
                context.period = answer.period;
                showStretch(answer.period, context.tz);
                await whetherEmpty(answer, number);
            }
        } catch (error) {
            if (error.name !== 'AbortError' && number === asked) {
                if (!(error instanceof ApiError)) {
                    throw error;
                }
                if (name === 'drift') {
                    learn([]);
                    tellColours();
                }
                failures.push(error);
                showFailure(name, error);
            }
        }
    }
}

/** Everything, for a new state. */
async function show() {
    stop.abort();
    stop = new AbortController();
    asked += 1;
    const number = asked;
    hideTip();
    showState(context);
    showAge();
    coloursKnown.then(() => number === asked && showRequest(context.state.request, context));
    const stale = [...answers.values()].some((answer) => answer.address !== context.address);
    document.body.classList.toggle('waiting', stale || answers.size < ALL.length);
    if (context.state.q) {
        coloursKnown.then(() => number === asked && find(number));
    } else {
        drawn.delete('latest');
    }
    const known = ALL.filter((name) => answers.get(name)?.address === context.address);
    known.forEach(draw);
    if (known.includes('totals')) {
        showStretch(answers.get('totals').period, context.tz);
    }
    clearTimeout(slow);
    slow = setTimeout(() => {
        if (number === asked && answers.get('totals')?.address !== context.address) {
            showAsked(context, drawn.has('totals') ? 'is asked for; the figures are still those from before' : 'is asked for');
        }
    }, SLOW_MS);
    if (stale || answers.size < ALL.length || trouble) {
        const failures = await ask(ALL, number);
        if (number === asked) {
            showTrouble(failures);
        }
    }
    clearTimeout(slow);
    if (number === asked) {
        document.body.classList.remove('waiting');
        showAge();
    }
}

async function find(number) {
    try {
        const total = await found(context.state.q, context);
        say(`${total} requests found`);
    } catch (error) {
        if (number === asked) {
            byId('latest-title').textContent = 'Found requests';
            byId('panel-latest').querySelector('.body').replaceChildren(h('p', { class: 'problem', role: 'alert' },
                hasNoSearch(error) ? 'This service has no search.' : error.message));
        }
    }
}

async function whetherEmpty(answer, number) {
    const images = answer.rows.find(([name]) => name === 'images')?.[1] ?? 0;
    showPanels(images > 0);
    if (images > 0) {
        hideEmpty();
        return;
    }
    const isFiltered = states.isFiltered(context.state);
    const since = new Date(Date.now() - 9 * 365 * 86_400_000).toISOString();
    const until = new Date(Date.now() + 86_400_000).toISOString();
    const ever = await panelOf('latest', new URLSearchParams({ since, until, limit: '1', tz: context.tz }), { signal: stop.signal });
    if (number !== asked) {
        return;
    }
    if (!ever.rows.length) {
        showFirstSteps();
        return;
    }
    const newest = ever.rows[0][0];
    const actions = isFiltered ? [['Without filters', () => context.change(states.withoutFilters(context.state))]] : [];
    const day = 86_400_000;
    if (Date.now() - new Date(newest) < 30 * day) {
        actions.push(['30 days ago', () => context.change(states.withPeriod(context.state, '30-days-ago'))]);
    } else {
        const from = new Date(new Date(newest).getTime() - 7 * day).toISOString();
        const to = new Date(new Date(newest).getTime() + 60_000).toISOString();
        actions.push(['The week up to it', () => context.range(from, to)]);
    }
    showElsewhere(newest, context.tz, isFiltered, actions);
}

// --- fresh ------------------------------------------------------------------------------------------------------------

function isRunning() {
    const { period, until } = context.state;
    return period ? !['yesterday', 'last-week'].includes(period) : until === null || Date.parse(until) > Date.now();
}

let refreshing = false;

const figuresNow = () => JSON.stringify(answers.get('totals')?.rows.map(([name, value]) => [name, value]));

/** Asks for the totals; where they have changed, for everything. `now`: somebody asked for it. */
async function refresh(now = false) {
    const again = trouble !== null && (trouble.status === 0 || trouble.status >= 429); // a refusal is one the next time, too
    if (refreshing || document.hidden || (!now && !again && (trouble !== null || !isRunning()))) {
        return;
    }
    refreshing = true;
    const number = asked;
    try {
        let failures = await ask(['totals'], number);
        // The service answers each panel from its own moment: one may be older than the totals that say that something came.
        const late = ALL.filter((name) => name !== 'totals' && (now || trouble || !answers.has(name) ||
            new Date(answers.get(name).as_of) < new Date(changedAt)));
        if (!failures.length && number === asked && late.length) {
            failures = await ask(late, number);
        }
        if (number === asked) {
            showTrouble(failures);
        }
    } finally {
        refreshing = false;
        showAge();
    }
}

function showAge() {
    const figures = answers.get('totals');
    const freshAt = figures?.address === context.address ? figures.fresh : null; // when what is shown was true
    const age = freshAt === null ? 0 : (Date.now() - freshAt) / 1000;
    if (trouble) {
        showLive('away', freshAt === null ? 'No answer' : `As of ${agoText(age)}`);
    } else if (!isRunning()) {
        showLive('still', 'Period is over');
    } else if (freshAt === null) {
        showLive('paused', 'Loading');
    } else if (age > LATE_S) {
        showLive('late', `As of ${agoText(age)}`);
    } else {
        showLive('now', `Live ${timeText(new Date(freshAt), context.tz)}`);
    }
}

function showTrouble(failures) {
    trouble = failures[0] ?? null;
    const place = byId('trouble');
    place.hidden = !trouble;
    if (trouble) {
        place.replaceChildren(`${trouble.message}. `, h('button', { type: 'button', on: { click: () => refresh(true) } }, 'Try again'));
    }
    showAge();
}

function drawAgain() {
    hideTip();
    GRID.filter(({ hasTable }) => hasTable).forEach(({ name }) => draw(name));
}

let resizing = null;
addEventListener('resize', () => {
    clearTimeout(resizing);
    resizing = setTimeout(drawAgain, 120);
});
addEventListener('popstate', () => {
    follow();
    show();
});
document.addEventListener('visibilitychange', () => refresh());
byId('request').addEventListener('cancel', (event) => {
    event.preventDefault();
    context.open(null);
});
for (const dialog of document.querySelectorAll('dialog:not(.key)')) {
    dialog.addEventListener('click', ({ target }) => { // on what is behind it
        if (target === dialog) {
            dialog.id === 'request' ? context.open(null) : dialog.close();
        }
    });
}

/** Goes where the address says; what it says wrong is put right in it. */
function follow() {
    const { state, leftOut } = states.fromQuery(location.search, browserZone());
    context.state = state;
    if (states.toQuery(state) !== location.search.slice(1)) {
        history.replaceState(null, '', addressOf(state));
    }
    showLeftOut(leftOut);
}

function addressOf(state) {
    const query = states.toQuery(state);
    return query ? `?${query}` : location.pathname;
}

function showServed() {
    byId('search').hidden = !serves('search');
    byId('classify').hidden = !serves('classify');
}

onKeyNeeded(askForKey);
follow();
makePanels();
listenToHeader(context);
listenForPictures(context);
showServed();
if (document.documentElement.dataset.access === 'key') {
    showState(context);
    knock().then(showServed).then(show);
} else {
    show();
}
setInterval(refresh, EVERY_MS);
setInterval(showAge, 1000);
