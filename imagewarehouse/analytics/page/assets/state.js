// What the analyst has chosen, and its form in the address: every view has a link, and the back button goes one choice back.

export const PERIODS = [
    { name: 'today', label: 'Today' },
    { name: 'yesterday', label: 'Yesterday' },
    { name: '7-days-ago', label: '7 days ago' },
    { name: 'last-week', label: 'Last week' },
    { name: '30-days-ago', label: '30 days ago' },
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

const LONGEST = 300; // characters of a value; the service refuses longer ones

export function initial() {
    return {
        period: 'today',
        since: null,
        until: null,
        tz: null, // null: the browser's
        filters: Object.fromEntries(FILTERS.map(({ name }) => [name, []])),
        minConfidence: null,
        maxConfidence: null,
        threshold: THRESHOLD,
        q: '',
        request: null, // the one that is shown in detail
    };
}

/** The state that an address describes. What cannot be read in it counts as not given. */
export function fromQuery(text) {
    const query = new URLSearchParams(text);
    const state = initial();
    const period = query.get('period');
    if (PERIODS.some(({ name }) => name === period)) {
        state.period = period;
    }
    const [since, until] = [instant(query.get('since')), instant(query.get('until'))];
    if (since && until && since < until) {
        Object.assign(state, { period: null, since, until });
    }
    state.tz = zone(query.get('tz'));
    for (const { name } of FILTERS) {
        const values = query.getAll(name).filter((value) => value && value.length <= LONGEST);
        state.filters[name] = [...new Set(values)];
    }
    const [least, most] = [share(query.get('min_confidence')), share(query.get('max_confidence'))];
    if (least === null || most === null || least < most) {
        Object.assign(state, { minConfidence: least, maxConfidence: most });
    }
    state.threshold = share(query.get('threshold')) ?? THRESHOLD;
    state.q = (query.get('q') ?? '').slice(0, 1000);
    const request = query.get('request');
    state.request = request && request.length <= LONGEST ? request : null;
    return state;
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
        query.set('until', state.until);
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

function instant(text) {
    // A time without a zone would be read in the browser's, another one on another machine.
    if (!text || !/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}.*(Z|[+-]\d{2}:?\d{2})$/.test(text)) {
        return null;
    }
    const moment = new Date(text);
    return Number.isNaN(moment.getTime()) ? null : moment.toISOString();
}

function share(text) {
    if (text === null || text.trim() === '') {
        return null;
    }
    const value = Number(text);
    return value >= 0 && value <= 1 ? value : null;
}

function zone(text) {
    if (!text) {
        return null;
    }
    try {
        new Intl.DateTimeFormat('en', { timeZone: text });
        return text;
    } catch {
        return null;
    }
}
