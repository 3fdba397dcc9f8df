// Pictures that are dropped, pasted or chosen: sent to the service, and what it says about each.

import { classify, serves } from './api.js';
import { colourOf } from './colours.js';
import { byId, foreign, h, say } from './dom.js';
import { shareText } from './numbers.js';
import { guessList } from './request.js';
import { figure } from './tables.js';

const MOST = 20; // at once

export function listenForPictures(context) {
    const [button, input, curtain] = [byId('classify'), byId('files'), byId('drop')];
    button.addEventListener('click', () => input.click());
    input.addEventListener('change', () => {
        send([...input.files], context);
        input.value = '';
    });
    document.addEventListener('paste', (event) => {
        const files = [...(event.clipboardData?.files ?? [])];
        if (files.length && serves('classify')) {
            event.preventDefault();
            send(files, context);
        }
    });
    let inside = 0; // dragenter and dragleave come for each element on the way
    const hasFiles = (event) => serves('classify') && [...(event.dataTransfer?.types ?? [])].includes('Files');
    document.addEventListener('dragenter', (event) => {
        if (hasFiles(event)) {
            inside += 1;
            curtain.hidden = false;
        }
    });
    document.addEventListener('dragleave', (event) => {
        if (hasFiles(event) && (inside -= 1) <= 0) {
            inside = 0;
            curtain.hidden = true;
        }
    });
    document.addEventListener('dragover', (event) => {
        if (hasFiles(event)) {
            event.preventDefault();
        }
    });
    document.addEventListener('drop', (event) => {
        inside = 0;
        curtain.hidden = true;
        if (hasFiles(event)) {
            event.preventDefault();
            send([...event.dataTransfer.files], context);
        }
    });
}

async function send(files, context) {
    const dialog = byId('answers');
    const list = h('ul', { class: 'answer-list' });
    const close = () => dialog.close();
    dialog.replaceChildren(
        h('header', {}, h('h2', { id: 'answers-title' }, files.length === 1 ? 'What the model says' : `${Math.min(files.length, MOST)} pictures`),
            h('button', { type: 'button', class: 'plain close', 'aria-label': 'Close', on: { click: close } }, '\u00d7')),
        list,
        files.length > MOST ? h('p', { class: 'problem' }, `The first ${MOST} of ${files.length} are sent.`) : '');
    const entries = files.slice(0, MOST).map((file) => {
        const url = URL.createObjectURL(file);
        const img = h('img', { alt: '', src: url, on: { error: () => img.remove() } });
        const said = h('div', { class: 'said' }, h('p', { class: 'quiet' }, 'Sending'));
        list.append(h('li', {}, h('span', { class: 'thumb t160' }, img), h('div', {}, h('p', { class: 'name' }, foreign(file.name || 'pasted picture')), said)));
        return { file, said, url };
    });
    if (!dialog.open) {
        dialog.showModal();
    }
    for (const { file, said, url } of entries) {
        try {
            const record = await classify(file);
            said.replaceChildren(...answered(record, context, close));
            say(`${record.predicted_class ?? record.status}, ${shareText(record.confidence)}`);
        } catch (error) {
            said.replaceChildren(h('p', { class: 'problem', role: 'alert' }, error.message));
        }
        context.refresh();
        setTimeout(() => URL.revokeObjectURL(url), 60_000);
    }
}

function answered(record, context, close) {
    const name = record.predicted_class;
    const open = h('button', { type: 'button', class: 'chip', on: { click: () => {
        close();
        context.open(record.request_id);
    } } }, 'The whole record');
    return [
        h('p', { class: 'verdict' }, name ? [h('i', { class: `swatch ${colourOf(name)}` }), foreign(name), ' ', figure(record.confidence, shareText(record.confidence))] : foreign(record.status)),
        Array.isArray(record.top_k) ? guessList(record.top_k.slice(0, 5)) : '',
        open,
    ];
}
