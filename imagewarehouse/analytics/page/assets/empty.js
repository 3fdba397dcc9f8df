// What stands there before the first picture, or where a period has none.

import { accessKey, serves } from './api.js';
import { byId, h, say } from './dom.js';
import { dateTimeText } from './times.js';

export function hideEmpty() {
    byId('empty').hidden = true;
}

/** Nothing has ever come: how to send the first picture. */
export function showFirstSteps() {
    const key = accessKey() ? " -H 'X-Access-Key: YOUR_KEY'" : '';
    const path = ['classify', 'images'].find(serves);
    const line = `curl${key} -F image=@picture.jpg ${new URL(path ?? '', document.baseURI)}`;
    fill(
        h('h2', { id: 'empty-title' }, 'Nothing has come in yet'),
        ...(path
            ? [h('p', {}, serves('classify') ? 'Drop a picture onto this page, paste one, or send one:' : 'Send a picture:'), h('div', { class: 'line' }, h('code', {}, line), copyButton(line))]
            : []),
        h('p', { class: 'quiet' }, 'The figures appear here by themselves.'),
    );
}

/** Something has, at another time. `show`: goes there. */
export function showElsewhere(newest, tz, isFiltered, actions) {
    fill(
        h('h2', { id: 'empty-title' }, isFiltered ? 'No request meets these filters' : 'No requests in this period'),
        newest ? h('p', {}, `The newest is from ${dateTimeText(newest, tz)}.`) : null,
        h('p', { class: 'actions' }, actions.map(([text, act]) => h('button', { type: 'button', on: { click: act } }, text))),
    );
}

function fill(...children) {
    byId('empty').replaceChildren(...children.filter(Boolean));
    byId('empty').hidden = false;
}

function copyButton(text) {
    const button = h('button', { type: 'button' }, 'Copy');
    button.addEventListener('click', async () => {
        try {
            await navigator.clipboard.writeText(text);
            button.textContent = 'Copied';
            say('Copied');
        } catch {
            // not allowed on plain HTTP: it is marked, so that a key press copies it
            const range = document.createRange();
            range.selectNodeContents(button.previousElementSibling);
            getSelection().removeAllRanges();
            getSelection().addRange(range);
            button.textContent = 'Press Ctrl-C';
        }
        setTimeout(() => {
            button.textContent = 'Copy';
        }, 3000);
    });
    return button;
}
