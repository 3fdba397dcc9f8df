// A colour for each class, the same everywhere on the page: a number of the palette in page.css (--c0 ... --c9).

export const COLOURS = 10;

const numbers = new Map();
let ready = false; // before the first answer says which classes there are, a filter in the address would get the first colour

/** Gives classes their colours, once, in the order given. */
export function learn(names) {
    ready = true;
    for (const name of names) {
        if (!numbers.has(name)) {
            numbers.set(name, numbers.size % COLOURS);
        }
    }
}

/** The order in which classes get colours: those of the model by the alphabet, so that every reader sees the same. Others that
 * are few come next, likewise; of many, the most frequent first, since colours repeat.
 *
 * Args: rows of the panel drift: [class, share, before, training].
 */
export function orderOf(rows) {
    const trained = rows.filter((row) => row[3] > 0);
    const rest = rows.filter((row) => !(row[3] > 0));
    if (trained.length + rest.length > COLOURS) {
        rest.sort((a, b) => (b[1] ?? 0) - (a[1] ?? 0));
    }
    return [...trained, ...rest].map(([name]) => name);
}

export function colourOf(name) {
    if (!ready) {
        return 'c-other';
    }
    if (!numbers.has(name)) {
        learn([name]);
    }
    return `c${numbers.get(name)}`;
}
