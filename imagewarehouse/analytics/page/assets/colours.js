// A colour for each class, the same everywhere on the page: a number of the palette in page.css (--c0 ... --c9).

export const COLOURS = 10;

const numbers = new Map();

/** Gives classes their colours, once. Those of the model come first, by the alphabet, so that every reader sees the same. */
export function learn(names) {
    for (const name of names) {
        if (!numbers.has(name)) {
            numbers.set(name, numbers.size % COLOURS);
        }
    }
}

export function colourOf(name) {
    if (!numbers.has(name)) {
        learn([name]);
    }
    return `c${numbers.get(name)}`;
}
