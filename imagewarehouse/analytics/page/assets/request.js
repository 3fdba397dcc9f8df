// One request in detail: the picture, what the model said, how long it took, the whole record, and pictures that look like it.

import { hasNoSearch, picturePath, recordOf, search, serves, showPicture } from './api.js';
import { colourOf } from './colours.js';
import { byId, foreign, h } from './dom.js';
import { bytesText, countText, msText, shareText } from './numbers.js';
import { thumbnail } from './pictures.js';
import { figure } from './tables.js';
import { dateTimeText, offsetText } from './times.js';

const ALIKE = 8;
// The guesses are shown as bars, a vector says nothing to people, and the rest is about the answer.
const LEFT_OUT = ['top_k', 'embedding', 'as_of', 'age_s'];

let current = null;

/** Shows a request, or none. `context`: as panels have it. */
export async function showRequest(requestId, context) {
    const dialog = byId('request');
    if (!requestId) {
        current = null;
        if (dialog.open) {
            dialog.close();
        }
        return;
    }
    if (current === requestId && dialog.open) {
        return;
    }
    current = requestId;
    fill(dialog, requestId, h('p', { class: 'nothing' }, 'One moment'), context);
    if (!dialog.open) {
        dialog.showModal();
    }
    try {
        const record = await recordOf(requestId);
        if (current === requestId) {
            fill(dialog, requestId, content(record, context), context, record);
        }
    } catch (error) {
        if (current === requestId) {
            const again = h('button', { type: 'button', on: { click: () => {
                current = null;
                showRequest(requestId, context);
            } } }, 'Try again');
            fill(dialog, requestId, h('p', { class: 'problem', role: 'alert' }, error.message, ' ', again), context);
        }
    }
}

function fill(dialog, requestId, inside, context, record = null) {
    const title = record?.predicted_class ?? record?.error_code ?? record?.status ?? 'Request';
    const isClassified = Boolean(record?.predicted_class);
    dialog.replaceChildren(
        h('header', {},
            h('h2', { id: 'request-title', tabindex: '-1' },
                isClassified ? h('i', { class: `swatch ${colourOf(title)}` }) : record ? h('i', { class: `swatch s-${record.status}` }) : null,
                foreign(title)),
            isClassified ? h('strong', { class: 'sure' }, figure(record.confidence, shareText(record.confidence))) : null,
            h('p', { class: 'quiet' }, record ? h('time', { datetime: record.event_time },
                `${dateTimeText(record.event_time, context.tz)} (${offsetText(record.event_time, context.tz)})`) : foreign(requestId)),
            h('button', { type: 'button', class: 'plain close', 'aria-label': 'Close', on: { click: () => context.open(null) } }, '\u00d7')),
        h('div', { class: 'inside' }, inside),
    );
    dialog.querySelector('h2').focus();
}

function content(record, context) {
    return [
        h('div', { class: 'left' }, picture(record), stages(record), alike(record, context)),
        h('div', { class: 'right' }, whatWentWrong(record), topFive(record, context),
            narrower(record, context), wholeRecord(record, context)),
    ];
}

function picture(record) {
    if (!serves('image')) {
        return null;
    }
    if (!record.image_id) {
        return h('p', { class: 'picture bare' }, 'No picture was kept of this request');
    }
    const name = record.predicted_class ? `The picture, seen as ${record.predicted_class}` : 'The picture';
    const img = h('img', { alt: name, decoding: 'async' });
    const place = h('a', { class: 'picture', href: picturePath(record.image_id), target: '_blank', rel: 'noopener' }, img);
    // A reduced one: a browser shows no TIFF and no HEIC, and nobody wants to wait for 20 MB.
    showPicture(img, picturePath(record.image_id, 1024)).catch(() => {
        place.replaceWith(h('p', { class: 'picture bare' }, 'The picture is not there, or not served here'));
    });
    return place;
}

function whatWentWrong(record) {
    return record.error_code
        ? h('p', { class: 'problem' }, h('b', {}, foreign(record.error_code)), ' ', foreign(record.error_detail ?? '', 'span'))
        : null;
}

function topFive(record, context) {
    const guesses = Array.isArray(record.top_k) ? record.top_k.slice(0, 5) : [];
    return guesses.length
        ? h('section', { class: 'guesses' }, h('h3', {}, 'What the model held for possible'), guessList(guesses, context))
        : null;
}

/** The best guesses as bars. */
export function guessList(guesses) {
    return h('ol', { class: 'guess-list' }, guesses.map(({ class: name, probability }) =>
        h('li', {}, foreign(name), h('span', { class: 'meter', 'aria-hidden': 'true' }, h('i', { class: colourOf(name), percent: probability * 100 })),
            figure(probability, shareText(probability)))));
}

function stages(record) {
    const { total_ms: total, preprocess_ms: preprocess, inference_ms: inference } = record;
    if (typeof total !== 'number') {
        return null;
    }
    const known = [['Preprocess', preprocess, 'p50'], ['Inference', inference, 'p95']].filter(([, ms]) => typeof ms === 'number');
    const rest = Math.max(0, total - known.reduce((sum, [, ms]) => sum + ms, 0));
    const parts = [['Check, store, wait, write', rest, 'rest'], ...known];
    return h('section', { class: 'stages' }, h('h3', {}, 'Where the time went: ', figure(total, msText(total))),
        h('div', { class: 'stage-bar', 'aria-hidden': 'true' }, parts.map(([, ms, kind]) => h('i', { class: kind, percent: total > 0 ? (ms / total) * 100 : 0 }))),
        h('ul', { class: 'key-line' }, parts.map(([name, ms, kind]) =>
            h('li', {}, h('i', { class: `dot ${kind}` }), name, ' ', h('b', {}, figure(ms, msText(ms)))))));
}

function narrower(record, context) {
    const offers = [['class', record.predicted_class, 'this class'], ['source', record.source_ip, 'this source'],
        ['user', record.source_user, 'this user'], ['image', record.image_id, 'this picture'], ['error', record.error_code, 'this error']];
    return h('p', { class: 'narrower' }, 'Show only ', offers.filter(([, value]) => value && value.length <= 300).map(([filter, value, name]) =>
        h('button', { type: 'button', class: 'chip', on: { click: () => context.only(filter, value) } }, name)));
}

function wholeRecord(record, context) {
    const shown = {
        event_time: (value) => dateTimeText(value, context.tz), size_bytes: (value) => bytesText(value),
        width: (value) => countText(value), height: (value) => countText(value), frames: (value) => countText(value),
        confidence: (value) => shareText(value, undefined, 2),
        preprocess_ms: (value) => msText(value), inference_ms: (value) => msText(value), total_ms: (value) => msText(value),
    };
    const entries = Object.entries(record).filter(([name, value]) => value !== null && !LEFT_OUT.includes(name));
    return h('section', { class: 'record' }, h('h3', {}, 'The record'), h('dl', {}, entries.map(([name, value]) => {
        const isPlain = typeof value !== 'object';
        return h('div', {}, h('dt', {}, name), h('dd', {}, foreign(shown[name] ? shown[name](value) : isPlain ? value : JSON.stringify(value), 'span')));
    })));
}

function alike(record, context) {
    if (!record.image_id || !serves('search')) {
        return null;
    }
    const place = h('section', { class: 'alike' }, h('h3', {}, 'Pictures that look like it'), h('p', { class: 'quiet' }, 'Looking'));
    search(new URLSearchParams({ like: record.image_id, limit: String(ALIKE * 3) })).then(({ hits, note }) => {
        const seen = new Set([record.image_id]);
        const others = hits.filter(({ record: { image_id: id } }) => id && !seen.has(id) && seen.add(id)).slice(0, ALIKE);
        place.lastChild.replaceWith(others.length
            ? h('ul', {}, others.map(({ record: other, similarity }) => h('li', {}, h('button', {
                type: 'button', class: 'neighbour', on: { click: () => context.open(other.request_id) },
            }, thumbnail(other.image_id, 72), foreign(other.predicted_class ?? other.status),
            similarity === null ? null : h('span', { class: 'quiet' }, shareText(similarity, undefined, 0))))))
            : h('p', { class: 'quiet' }, note ? 'Not known: this picture was classified without model.embedding' : 'None was found'));
    }).catch((error) => {
        place.lastChild.replaceWith(h('p', { class: 'quiet' }, hasNoSearch(error) ? 'This service has no search by picture' : error.message));
    });
    return place;
}
