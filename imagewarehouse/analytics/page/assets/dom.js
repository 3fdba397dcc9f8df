// Elements made of text. Nothing on this page goes through innerHTML: what came with a picture stays text.

const SVG = 'http://www.w3.org/2000/svg';

/** An element. `props`: `class`, `on` (listeners), `data`, `width` in per cent, and attributes; null and false leave one out. */
export function h(tag, props = {}, ...children) {
    return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s(tag, props = {}, ...children) {
    return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
    for (const [name, value] of Object.entries(props ?? {})) {
        if (value === null || value === undefined || value === false) {
            continue;
        }
        if (name === 'on') {
            for (const [event, listener] of Object.entries(value)) {
                element.addEventListener(event, listener);
            }
        } else if (name === 'data') {
            Object.assign(element.dataset, value);
        } else if (name === 'percent') {
            element.style.setProperty('--part', `${value}%`); // set by script: a style attribute would be against the policy
        } else {
            element.setAttribute(name, value === true ? '' : String(value));
        }
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return element;
}

/** Text from outside: in its own direction, whatever is in it, and cut by CSS where it is too long. */
export function foreign(text, tag = 'bdi') {
    const shown = visible(String(text));
    return h(tag, { class: 'foreign', dir: 'auto', title: shown.length > 24 ? shown.slice(0, 1000) : null }, shown.slice(0, 1000));
}

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Control characters as pictures or code points: what turns or hides text is seen. */
export function visible(text) {
    return text.replace(HIDDEN, (c) => {
        const code = c.codePointAt(0);
        return code < 32 ? String.fromCodePoint(0x2400 + code) : `\u27e8${code.toString(16).toUpperCase().padStart(4, '0')}\u27e9`;
    });
}

export function byId(id) {
    return document.getElementById(id);
}

/** New content, with the focus where it was: on what has the same data-key. */
export function replace(element, ...children) {
    const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    element.replaceChildren(...children.flat(Infinity).filter(Boolean));
    if (focused !== undefined) {
        const again = [...element.querySelectorAll('[data-key]')].find((one) => one.dataset.key === focused);
        again?.focus({ preventScroll: true });
    }
}

/** Says something to who listens instead of looking. */
export function say(text) {
    byId('said').textContent = text;
}

/** An element per item, those that were there kept as they are: pictures do not flicker. `make` gives an element. */
export function keep(list, items, keyOf, make) {
    const before = new Map([...list.children].map((child) => [child.dataset.key, child]));
    const wanted = items.map((item) => {
        const key = keyOf(item);
        const element = before.get(key) ?? make(item);
        element.dataset.key = key;
        before.delete(key);
        return element;
    });
    for (const gone of before.values()) {
        gone.remove();
    }
    wanted.forEach((element, number) => {
        if (list.children[number] !== element) {
            list.insertBefore(element, list.children[number] ?? null);
        }
    });
}
