// Numbers in the reader's own writing. `locale` undefined: the browser's. null and undefined are shown as a dash.

export const NONE = '\u2013';

const formats = new Map();

function format(options, locale) {
    const key = JSON.stringify([locale, options]);
    if (!formats.has(key)) {
        formats.set(key, new Intl.NumberFormat(locale, options));
    }
    return formats.get(key);
}

function isNone(value) {
    return value === null || value === undefined || Number.isNaN(value);
}

export function countText(value, locale) {
    return isNone(value) ? NONE : format({ maximumFractionDigits: 0 }, locale).format(value);
}

/** Short, for an axis: 12K. */
export function compactText(value, locale) {
    return isNone(value) ? NONE : format({ notation: 'compact', maximumFractionDigits: 1 }, locale).format(value);
}

/** A share of 0 to 1 as per cent. */
export function shareText(value, locale, digits = 1) {
    return isNone(value)
        ? NONE
        : format({ style: 'percent', minimumFractionDigits: digits, maximumFractionDigits: digits }, locale).format(value);
}

export function decimalText(value, digits = 2, locale = undefined) {
    return isNone(value)
        ? NONE
        : format({ minimumFractionDigits: digits, maximumFractionDigits: digits }, locale).format(value);
}

export const TIMES = 10; // a change of this and more is not said in per cent

/** A change as a share of what was before: +12 %, ×21. `sign` never: 12 %, where an arrow or a word says which way. */
export function changeText(value, locale, sign = 'exceptZero') {
    if (isNone(value)) {
        return NONE;
    }
    if (value >= TIMES) {
        return `\u00d7${format({ maximumFractionDigits: 0 }, locale).format(value + 1)}`;
    }
    const digits = Math.abs(value) < 0.0995 ? 1 : 0;
    return format({ style: 'percent', signDisplay: sign, maximumFractionDigits: digits }, locale).format(value);
}

const BYTES = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte', 'petabyte'];

export function bytesText(value, locale) {
    if (isNone(value)) {
        return NONE;
    }
    let [number, unit] = [value, 0];
    while (number >= 999.5 && unit < BYTES.length - 1) {
        number /= 1000;
        unit += 1;
    }
    const digits = unit === 0 || number >= 99.5 ? 0 : number >= 9.95 ? 1 : 2;
    const options = { style: 'unit', unit: BYTES[unit], unitDisplay: unit ? 'short' : 'long', maximumFractionDigits: digits };
    return format(options, locale).format(number);
}

export function msText(value, locale) {
    if (isNone(value)) {
        return NONE;
    }
    const unit = value >= 9999.5 ? 'second' : 'millisecond';
    const number = unit === 'second' ? value / 1000 : value;
    const digits = number >= 99.5 ? 0 : number >= 9.95 ? 1 : 2;
    return format({ style: 'unit', unit, minimumFractionDigits: digits, maximumFractionDigits: digits }, locale).format(number);
}
