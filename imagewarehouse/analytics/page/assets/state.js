// What the analyst has chosen, and its form in the address: every view has a link, and the back button goes one choice back.

import { fromWall, newerName, zones } from './times.js';

export const PERIODS = [
    { name: 'today', label: 'Today', means: 'Since midnight' },
    { name: 'yesterday', label: 'Yesterday', means: 'From midnight to midnight' },
    { name: '7-days-ago', label: '7 days ago', means: 'From midnight seven days ago up to now' },
    { name: 'last-week', label: 'Last week', means: 'Monday to Sunday of the week before this one' },
    { name: '30-days-ago', label: '30 days ago', means: 'From midnight thirty days ago up to now' },
];

export const FILTERS = [
    { name: 'class', label: 'Class' },
    { name: 'status', label: 'Status' },
    { name: 'error', label: 'Error' },
    { name: 'source', label: 'Source' },
    { name: 'user', label: 'User' },
    { name: 'model', label: 'Model' },
    { name: 'image', label: 'Picture' },
];

export const THRESHOLD = 0.6; // of confidence, where the service has none from us

// What the service refuses, a link with too much of it would break every panel.
const STATUSES = ['accepted', 'classified', 'rejected', 'failed'];
const LONGEST = 300; // characters of a value
const MOST = 100; // values of a filter
const LONGEST_RANGE_MS = 3660 * 86_400_000;
const LONGEST_SEARCH = 1000;
const KNOWN = ['period', 'since', 'until', 'tz', ...FILTERS.map(({ name }) => name), 'min_confidence', 'max_confidence', 'threshold', 'q',
    'request'];

export function initial() {
    return {
        period: 'today',
        since: null,
        until: null, // of a range that has since: up to now
        tz: null, // null: the browser's
        filters: Object.fromEntries(FILTERS.map(({ name }) => [name, []])),
        minConfidence: null,
        maxConfidence: null,
        threshold: THRESHOLD,
        q: '',
        request: null, // the one that is shown in detail
    };
}

/** The state that an address describes, and what it says that this page cannot understand.
 *
 * Args: zoneOfBrowser: of times without a zone, where the address names none.
 * Returns: {state, leftOut}; leftOut: [{name, value, why, instead}], in words. What is left out counts as not given.
 */
export function fromQuery(text, zoneOfBrowser = 'UTC', now = Date.now()) {
    const query = new URLSearchParams(text);
    const state = initial();
    const leftOut = [];
    const leave = (name, value, why = 'is unknown', instead = null) => leftOut.push({ name, value, why, instead });
    const once = (name) => {
        const [first = null, ...more] = query.getAll(name);
        more.forEach((value) => leave(name, value, 'is one too many'));
        return first;
    };
    for (const name of new Set(query.keys())) {
        if (!KNOWN.includes(name)) {
            leave(name, query.get(name), 'means nothing to this page');
        }
    }
    const tz = once('tz');
    state.tz = zone(tz);
    if (tz !== null && state.tz === null) {
        leave('time zone', tz, 'is unknown', zoneOfBrowser);
    }
    const before = leftOut.length;
    readPeriod(state, [once('period'), once('since'), once('until')], state.tz ?? zoneOfBrowser, now, leave);
    if (leftOut.length > before) {
        leftOut.at(-1).instead = state.period ? labelOf(state).toLowerCase() : 'the range';
    }
    for (const { name } of FILTERS) {
        const values = [...new Set(query.getAll(name))].filter((value) => {
            const why = name === 'status' && !STATUSES.includes(value) ? 'is unknown'
                : !value ? 'is empty' : [...value].length > LONGEST ? 'is too long' : value.includes('\0') ? 'is no text' : null;
            if (why) {
                leave(name, value, why);
            }
            return !why;
        });
        state.filters[name] = values.slice(0, MOST);
        if (values.length > MOST) {
            leave(name, null, `has more than ${MOST} values`, `the first ${MOST}`);
        }
    }
    const [least, most] = ['min_confidence', 'max_confidence'].map((name) => {
        const value = once(name);
        const number = share(value);
        if (value !== null && number === null) {
            leave(name, value, 'is no number from 0 to 1');
        }
        return number;
    });
    if (least === null || most === null || least <= most) {
        Object.assign(state, { minConfidence: least, maxConfidence: most });
    } else {
        leave('confidence', `${least} to ${most}`, 'ends before it begins');
    }
    const threshold = once('threshold');
    state.threshold = share(threshold) ?? THRESHOLD;
    if (threshold !== null && share(threshold) === null) {
        leave('threshold', threshold, 'is no number from 0 to 1', String(THRESHOLD));
    }
    const q = once('q') ?? '';
    state.q = q.slice(0, LONGEST_SEARCH);
    if (q.length > LONGEST_SEARCH) {
        leave('search', null, `has more than ${LONGEST_SEARCH} characters`, 'what the first of them find');
    }
    const request = once('request');
    state.request = request && request.length <= LONGEST ? request : null;
    if (request !== null && state.request === null) {
        leave('request', request, request ? 'is too long' : 'is empty');
    }
    return { state, leftOut };
}

function readPeriod(state, [period, since, until], tz, now, leave) {
    const noTime = (text) => (/^(0\d|1[0-8])\d\d-/.test(text) ? 'is before 1900' : 'is no time');
    if (since !== null) {
        const [from, to] = [instant(since, tz), until === null ? null : instant(until, tz)];
        const end = until === null ? now : Date.parse(to);
        if (from === null) {
            leave('since', since, noTime(since));
        }
        if (until !== null && to === null) {
            leave('until', until, noTime(until));
        }
        if (from !== null && !Number.isNaN(end)) {
            const problem = rangeProblem(Date.parse(from), end);
            if (problem === null) {
                Object.assign(state, { period: null, since: from, until: to });
            } else {
                leave('range', `${since} to ${until ?? 'now'}`, problem);
            }
        }
    } else if (until !== null) {
        leave('until', until, 'has no since');
    }
    const isNamed = PERIODS.some(({ name }) => name === period);
    if (period !== null && state.period === null) {
        leave('period', period, 'stands beside a range');
    } else if (period !== null && isNamed) {
        state.period = period;
    } else if (period !== null) {
        leave('period', period);
    }
}

/** What a period is called: one of the five, or a range of one's own. */
export function labelOf({ period }) {
    return PERIODS.find(({ name }) => name === period)?.label ?? 'Range';
}

/** Why the service would refuse a range, in words; null where it would not. Both in ms. */
export function rangeProblem(since, until) {
    if (since >= until) {
        return 'ends before it begins';
    }
    return until - since > LONGEST_RANGE_MS ? 'is longer than ten years' : null;
}

/** The address of a state, without `?`; empty for the initial one. */
export function toQuery(state) {
    const query = choices(state);
    if (state.tz) {
        query.set('tz', state.tz);
    }
    if (state.period === 'today') {
        query.delete('period');
    }
    if (state.threshold === THRESHOLD) {
        query.delete('threshold');
    }
    if (state.q) {
        query.set('q', state.q);
    }
    if (state.request) {
        query.set('request', state.request);
    }
    return query.toString();
}

/** The parameters of a panel's query. `browserZone`: where none is chosen. */
export function toParameters(state, browserZone) {
    const query = choices(state);
    query.set('tz', state.tz ?? browserZone);
    return query;
}

function choices(state) {
    const query = new URLSearchParams();
    if (state.period) {
        query.set('period', state.period);
    } else {
        query.set('since', state.since);
        if (state.until) {
            query.set('until', state.until);
        }
    }
    for (const { name } of FILTERS) {
        for (const value of state.filters[name]) {
            query.append(name, value);
        }
    }
    if (state.minConfidence !== null) {
        query.set('min_confidence', String(state.minConfidence));
    }
    if (state.maxConfidence !== null) {
        query.set('max_confidence', String(state.maxConfidence));
    }
    query.set('threshold', String(state.threshold));
    return query;
}

// --- changes: each gives a new state ------------------------------------------------------------------------------------

export function withPeriod(state, period) {
    return { ...state, period, since: null, until: null };
}

/** `since` and `until`: ISO 8601 with a zone. */
export function withRange(state, since, until) {
    return { ...state, period: null, since: instant(since), until: instant(until) };
}

/** Adds a value to a filter, or takes it away where it is there. */
export function toggled(state, name, value) {
    const values = state.filters[name];
    const changed = values.includes(value) ? values.filter((one) => one !== value) : [...values, value];
    return { ...state, filters: { ...state.filters, [name]: changed } };
}

export function withConfidence(state, minConfidence, maxConfidence) {
    return { ...state, minConfidence, maxConfidence };
}

export function withoutFilters(state) {
    return { ...state, filters: initial().filters, minConfidence: null, maxConfidence: null };
}

export function isFiltered(state) {
    return (
        Object.values(state.filters).some((values) => values.length > 0) ||
        state.minConfidence !== null ||
        state.maxConfidence !== null
    );
}

// --- values ---------------------------------------------------------------------------------------------------------------

/** An instant as ISO 8601. A day begins at midnight; a time without a zone is one of `tz`. null: no time. */
function instant(text, tz = 'UTC') {
    const [, date, clock = 'T00:00', offset] = /^(\d{4}-\d{2}-\d{2})(?:([T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(Z|[+-]\d{2}:?\d{2})?)?$/i.exec(text) ?? [];
    if (!date) {
        return null;
    }
    const wall = `${date}T${clock.slice(1)}`;
    if (!offset) {
        return fromWall(wall, tz);
    }
    const moment = new Date(`${wall}${offset.toUpperCase()}`);
    return fromWall(wall, 'UTC') === null || Number.isNaN(moment.getTime()) ? null : moment.toISOString();
}

function share(text) {
    if (text === null || !/^[\d.]+(e-?\d+)?$/i.test(text)) {
        return null;
    }
    const value = Number(Number(text).toFixed(9)); // the service reads no more than fifteen digits
    return value >= 0 && value <= 1 ? value : null;
}

/** The name of a time zone as the service knows it, which tells small letters from large ones. null: there is none of this name. */
function zone(text) {
    if (!text || /^[+-]/.test(text)) {
        return null;
    }
    const known = zones().find((name) => name.toLowerCase() === text.toLowerCase());
    if (known) {
        return known;
    }
    try {
        return newerName(new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions().timeZone);
    } catch {
        return null;
    }
}
