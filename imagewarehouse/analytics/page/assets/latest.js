// The newest requests, or what a search found: a list that can be paged, each entry opens the request.

import { panelOf, search } from './api.js';
import { colourOf } from './colours.js';
import { byId, foreign, h, keep } from './dom.js';
import { countText, shareText } from './numbers.js';
import { thumbnail } from './pictures.js';
import { nothing, objects } from './tables.js';
import { agoText, dateTimeText, shortText, timeText } from './times.js';

export const PAGE = 40;
let shown = { address: null, entries: [], cursor: null, paged: false };

const body = () => byId('panel-latest').querySelector('.body');
const note = (text) => {
    byId('panel-latest').querySelector('.note').textContent = text;
};
const heading = (text) => {
    byId('latest-title').textContent = text;
};

/** Shows the first page; pages that were loaded below it stay for as long as the question is the same. */
export function latest(answer, context) {
    heading('Latest requests');
    const first = objects(answer);
    const ids = new Set(first.map(({ request_id: id }) => id));
    const same = shown.address === context.address;
    if (same && shown.paged && shown.entries.some(({ request_id: id }) => ids.has(id))) {
        shown.entries = [...first, ...shown.entries.filter(({ request_id: id }) => !ids.has(id))];
    } else {
        // Also where so much came since that there would be a gap between this page and those below it.
        shown = { address: context.address, entries: first, cursor: answer.facts.after ?? null, paged: false };
    }
    if (!same && body().firstChild) { // an empty one is at its top already: to set it would lay out the whole page
        body().scrollTop = 0;
    }
    note(first.length ? `newest ${agoText((Date.now() - new Date(first[0].event_time)) / 1000)}` : '');
    const more = async () => {
        const next = await panelOf('latest', withParameters(context.parameters(), { limit: PAGE, after: shown.cursor }));
        shown.entries = [...shown.entries, ...objects(next)];
        Object.assign(shown, { cursor: next.facts.after ?? null, paged: true });
        show(shown.entries, context, shown.cursor && more);
    };
    show(shown.entries, context, shown.cursor && more);
}

/** What a search found instead, at any time, under the filters. Gives the number of hits. Raises ApiError. */
export async function found(words, context) {
    const parameters = withParameters(context.parameters(), { q: words, limit: String(PAGE) });
    for (const name of ['period', 'since', 'until', 'tz', 'threshold']) {
        parameters.delete(name);
    }
    const answer = await search(parameters);
    const hits = [...answer.hits];
    shown = { address: null, entries: [], cursor: null, paged: false };
    heading('Found requests');
    note(`${countText(answer.total)}, at any time`);
    let next = answer.next;
    const more = async () => {
        const page = await search(withParameters(parameters, { cursor: next }));
        hits.push(...page.hits);
        next = page.next;
        show(hits.map(({ record }) => record), context, next && more);
    };
    show(hits.map(({ record }) => record), context, next && more, 'Nothing was found');
    body().scrollTop = 0;
    return answer.total;
}

function withParameters(parameters, more) {
    const all = new URLSearchParams(parameters);
    for (const [name, value] of Object.entries(more)) {
        all.set(name, value);
    }
    return all;
}

function show(entries, context, more, empty = 'No requests in this period') {
    const place = body();
    let list = place.querySelector('ol');
    if (!entries.length || !list) {
        list = h('ol', {});
        place.replaceChildren(entries.length ? list : nothing(empty));
    }
    if (entries.length) {
        keep(list, entries, (entry) => `${entry.request_id}|${entry.status}|${context.tz}`, (entry) => item(entry, context));
        const filled = new Map(entries.map((entry) => [entry.request_id, entry]));
        for (const element of list.children) { // the time of an entry of today grows into one of yesterday
            const entry = filled.get(element.dataset.key.split('|')[0]);
            element.querySelector('time').textContent = whenText(entry.event_time, context.tz);
        }
    }
    place.querySelector('.more')?.remove();
    if (more) {
        const button = h('button', { type: 'button', class: 'more', data: { key: 'more' } }, 'Older requests');
        button.addEventListener('click', async () => {
            button.disabled = true;
            try {
                await more();
            } catch (error) {
                button.disabled = false;
                button.textContent = `${error.message}. Try again`;
            }
        });
        place.append(button);
    }
}

function whenText(moment, tz) {
    const recent = Date.now() - new Date(moment) < 20 * 3_600_000;
    return recent ? timeText(moment, tz) : shortText(moment, tz);
}

function item(entry, context) {
    const isClassified = entry.predicted_class !== null && entry.predicted_class !== undefined;
    return h('li', {}, h('button', {
        type: 'button', class: 'entry', data: { request: entry.request_id }, on: { click: () => context.open(entry.request_id) },
    },
    thumbnail(entry.image_id, 44),
    h('span', { class: 'what' },
        isClassified
            ? [h('i', { class: `swatch ${colourOf(entry.predicted_class)}` }), foreign(entry.predicted_class)]
            : [h('i', { class: `swatch s-${entry.status}` }), foreign(entry.error_code ?? entry.status)]),
    h('span', { class: 'sure' }, isClassified ? shareText(entry.confidence, undefined, 0) : entry.status),
    h('span', { class: 'from' }, foreign(entry.file_name ?? 'without a name'), ' ',
        h('span', { class: 'quiet' }, foreign(entry.source_user ?? entry.source_ip ?? ''))),
    h('time', { datetime: entry.event_time, title: dateTimeText(entry.event_time, context.tz) },
        whenText(entry.event_time, context.tz))));
}
