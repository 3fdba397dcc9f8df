// Times as a clock in some zone shows them. Instants are Date or ISO 8601.

const parts = new Map(); // Intl's formats take a millisecond to make
const ago = new Map();

function format(tz, options, locale) {
    const key = JSON.stringify([locale, tz, options]);
    if (!parts.has(key)) {
        // 24 hours in every language: a range such as `12:00 – 11:09 AM` is read as one from noon.
        parts.set(key, new Intl.DateTimeFormat(locale, { hourCycle: 'h23', ...options, timeZone: tz }));
    }
    return parts.get(key);
}

// Browsers give some zones by names that the zones' own database has replaced, and some systems no longer have.
const NEWER = {
    'Africa/Asmera': 'Africa/Asmara', 'America/Buenos_Aires': 'America/Argentina/Buenos_Aires', 'America/Catamarca': 'America/Argentina/Catamarca',
    'America/Cordoba': 'America/Argentina/Cordoba', 'America/Godthab': 'America/Nuuk', 'America/Indianapolis': 'America/Indiana/Indianapolis',
    'America/Jujuy': 'America/Argentina/Jujuy', 'America/Louisville': 'America/Kentucky/Louisville', 'America/Mendoza': 'America/Argentina/Mendoza',
    'Asia/Calcutta': 'Asia/Kolkata', 'Asia/Katmandu': 'Asia/Kathmandu', 'Asia/Rangoon': 'Asia/Yangon', 'Asia/Saigon': 'Asia/Ho_Chi_Minh',
    'Atlantic/Faeroe': 'Atlantic/Faroe', 'Europe/Kiev': 'Europe/Kyiv', 'Pacific/Enderbury': 'Pacific/Kanton', 'Pacific/Ponape': 'Pacific/Pohnpei',
    'Pacific/Truk': 'Pacific/Chuuk',
};

const LAST_WALL = '9998-12-30'; // so that it is in the year 9998, the last one of the service, in every zone

let own = { offset: null, name: 'UTC' };

/** The zone of the browser. Asked of Intl, which takes some milliseconds, only where the clock may have moved to another one. */
export function browserZone() {
    const offset = new Date().getTimezoneOffset();
    if (own.offset !== offset) {
        own = { offset, name: newerName(Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC') };
    }
    return own.name;
}

export function newerName(name) {
    return NEWER[name] ?? name;
}

export function zones(...more) {
    const known = (Intl.supportedValuesOf ? Intl.supportedValuesOf('timeZone') : []).map(newerName);
    return [...new Set(['UTC', ...known, ...more])].sort((a, b) => (a === 'UTC' ? -1 : b === 'UTC' ? 1 : a < b ? -1 : 1));
}

/** How far a zone's clock is before UTC at an instant, in minutes. */
export function offsetMinutes(instant, tz) {
    const moment = new Date(instant);
    const shown = Object.fromEntries(
        format(
            tz,
            {
                year: 'numeric', month: '2-digit', day: '2-digit',
                hour: '2-digit', minute: '2-digit', second: '2-digit',
            },
            'en-US',
        ).formatToParts(moment).map(({ type, value }) => [type, Number(value)]),
    );
    const clock = Date.UTC(shown.year, shown.month - 1, shown.day, shown.hour, shown.minute, shown.second);
    return Math.round((clock - Math.floor(moment.getTime() / 1000) * 1000) / 60000);
}

/** `+02:00` */
export function offsetText(instant, tz) {
    const minutes = offsetMinutes(instant, tz);
    const size = Math.abs(minutes);
    const two = (number) => String(number).padStart(2, '0');
    return `${minutes < 0 ? '\u2212' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

/** The instant at which a clock in the zone shows `wall`, as an <input type="datetime-local"> gives it.
 *
 * In the hour that comes twice: the first. In the one that is left out: as long after the change as the wall time says.
 * null: no time, or one before 1900: below the year 100 Date.UTC counts from 1900, and no picture is that old.
 */
export function fromWall(wall, tz) {
    const asUtc = Date.parse(`${wall}Z`);
    if (!/^(19|[2-9]\d)\d{2}-\d{2}-\d{2}T\d{2}:\d{2}/.test(wall) || wall > LAST_WALL || Number.isNaN(asUtc)) {
        return null;
    }
    if (new Date(asUtc).toISOString().slice(0, 10) !== wall.slice(0, 10)) {
        return null; // 31 February
    }
    // The zone's offsets a day before and a day after are the only ones that can hold.
    const day = 86_400_000;
    const before = offsetMinutes(asUtc - day, tz);
    const after = offsetMinutes(asUtc + day, tz);
    for (const offset of [before, after]) {
        const instant = asUtc - offset * 60_000;
        if (offsetMinutes(instant, tz) === offset) {
            return new Date(instant).toISOString();
        }
    }
    return new Date(asUtc - before * 60_000).toISOString();
}

/** `2026-10-25T02:30`, for an <input type="datetime-local">. */
export function toWall(instant, tz) {
    const moment = new Date(instant);
    return new Date(moment.getTime() + offsetMinutes(moment, tz) * 60_000).toISOString().slice(0, 16);
}

export function timeText(instant, tz, locale) {
    return format(tz, { hour: '2-digit', minute: '2-digit' }, locale).format(new Date(instant));
}

export function dayText(instant, tz, locale) {
    return format(tz, { weekday: 'short', day: 'numeric', month: 'short' }, locale).format(new Date(instant));
}

export function dateTimeText(instant, tz, locale) {
    return format(tz, { dateStyle: 'medium', timeStyle: 'medium' }, locale).format(new Date(instant));
}

export function shortText(instant, tz, locale) {
    return format(
        tz,
        { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' },
        locale,
    ).format(new Date(instant));
}

/** From the first moment of a range to its last, as short as it can be said. */
export function rangeText(since, until, tz, locale) {
    const last = new Date(new Date(until).getTime() - 1);
    const isMidnight = (instant) => toWall(instant, tz).endsWith('T00:00') && new Date(instant).getTime() % 60_000 === 0;
    if (isMidnight(since) && isMidnight(until)) {
        return format(tz, { day: 'numeric', month: 'short', year: 'numeric' }, locale)
            .formatRange(new Date(since), last);
    }
    return format(
        tz,
        { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' },
        locale,
    ).formatRange(new Date(since), new Date(until));
}

/** How long ago, in one unit: `12 s ago`. `seconds` of 0 or more. */
export function agoText(seconds, locale) {
    if (!ago.has(locale)) {
        ago.set(locale, new Intl.RelativeTimeFormat(locale, { numeric: 'always', style: 'narrow' }));
    }
    const relative = ago.get(locale);
    for (const [unit, size] of [['day', 86_400], ['hour', 3600], ['minute', 60]]) {
        if (seconds >= size) {
            return relative.format(-Math.floor(seconds / size), unit);
        }
    }
    return relative.format(-Math.round(Math.max(0, seconds)), 'second');
}

/** What a column of a chart over time is called: its axis label, and the whole of it. `next`: where it ends. */
export function bucketText(start, next, tz, locale) {
    const hours = (new Date(next) - new Date(start)) / 3_600_000;
    if (hours > 30) {
        return { short: dayOnly(start, tz, locale), long: rangeText(start, next, tz, locale) };
    }
    if (hours >= 20) {
        return { short: dayOnly(start, tz, locale), long: dayText(start, tz, locale) };
    }
    return {
        short: timeText(start, tz, locale),
        long: `${dayText(start, tz, locale)}, ${timeText(start, tz, locale)}\u2013${timeText(next, tz, locale)}`,
    };
}

function dayOnly(instant, tz, locale) {
    return format(tz, { day: 'numeric', month: 'short' }, locale).format(new Date(instant));
}
