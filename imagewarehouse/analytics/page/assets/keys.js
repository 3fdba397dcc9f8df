// Asks for the access key, where the service wants one. It stays in this tab only.

import { byId, h } from './dom.js';

/** A promise of a key. `wrong`: the one before was refused. */
export function askForKey({ wrong }) {
    const dialog = byId('key');
    const input = h('input', { type: 'password', name: 'key', required: true, autocomplete: 'current-password', id: 'key-input' });
    return new Promise((resolve) => {
        const form = h('form', { on: { submit: (event) => {
            event.preventDefault();
            const key = input.value.trim();
            // A header carries nothing else; the service would never see it.
            if (!/^[\x21-\x7e]+$/.test(key)) {
                problem.textContent = 'A key has letters, digits and signs of ASCII, without spaces.';
                return;
            }
            dialog.close();
            resolve(key);
        } } });
        const problem = h('p', { class: 'problem', role: 'alert' }, wrong ? 'The service does not know this key.' : '');
        form.append(
            h('h2', { id: 'key-title' }, 'Access key'),
            h('p', {}, 'This service shows its figures to those who have a key. It is kept in this tab only, until you close it.'),
            h('label', { for: 'key-input' }, 'Key'), input, problem,
            h('button', { type: 'submit', class: 'primary' }, 'Continue'),
        );
        dialog.replaceChildren(form);
        dialog.addEventListener('cancel', (event) => event.preventDefault()); // nothing can be shown without it
        dialog.showModal();
        input.focus();
    });
}
