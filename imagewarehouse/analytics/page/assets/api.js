// What the page asks the service: nothing else goes over the network.

const KEY = 'image-warehouse-key';
const TIMEOUT_MS = 30_000;

/** The service said no, or nothing. `status`: 0 where there was no answer. */
export class ApiError extends Error {
    constructor(status, title, detail, code) {
        super(detail ? `${title}: ${detail}` : title);
        Object.assign(this, { status, title, detail, code });
    }
}

let askForKey = null; // ({wrong}) => promise of a key
let asking = null; // one question for all requests that were refused

export function onKeyNeeded(ask) {
    askForKey = ask;
}

/** The access key of this tab; gone with it. */
export function accessKey() {
    try {
        return sessionStorage.getItem(KEY);
    } catch {
        return null;
    }
}

function keepKey(key) {
    try {
        if (key) {
            sessionStorage.setItem(KEY, key);
        } else {
            sessionStorage.removeItem(KEY);
        }
    } catch {
        // storage is switched off: it will be asked for again
    }
}

async function send(path, options = {}) {
    for (;;) {
        const key = accessKey();
        const headers = { ...options.headers, ...(key ? { 'X-Access-Key': key } : {}) };
        let answer;
        try {
            const limit = AbortSignal.timeout(options.timeout ?? TIMEOUT_MS);
            const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
            // no-cache: asked each time, and answered with 304 where nothing changed
            answer = await fetch(path, { cache: 'no-cache', ...options, headers, signal, redirect: 'error' });
        } catch (error) {
            if (options.signal?.aborted) {
                throw error;
            }
            throw unanswered(error);
        }
        if (answer.status !== 401 || !askForKey) {
            return answer;
        }
        if (accessKey() === key) {
            asking ??= askForKey({ wrong: Boolean(key) }).then(keepKey).finally(() => {
                asking = null;
            });
        }
        await asking;
    }
}

function unanswered(error) {
    return new ApiError(0, error.name === 'TimeoutError' ? 'The service takes too long' : 'The service does not answer', null, 'none');
}

/** The JSON of an answer. Raises ApiError, AbortError: also in the middle of one. */
async function read(answer, signal) {
    let told = {};
    try {
        told = await answer.json();
    } catch (error) {
        if (signal?.aborted) {
            throw error;
        }
        if (answer.ok) {
            throw unanswered(error);
        } // else no problem details: something in between answered
    }
    if (!answer.ok) {
        throw new ApiError(answer.status, told.title ?? `Answer ${answer.status}`, told.detail ?? null, told.error_code ?? '');
    }
    return told;
}

/** JSON at a path. Raises ApiError, AbortError. */
export async function getJson(path, parameters, options) {
    const query = parameters?.toString();
    return read(await send(query ? `${path}?${query}` : path, options), options?.signal);
}

let served = document.documentElement.dataset.serves?.split(' '); // what the service has beside figures

/** Whether the service has it: search, image, thumbnail, images, classify. */
export function serves(name) {
    return served === undefined || served.includes(name);
}

/** Where a key is needed, one answer says so before a dozen questions do, and what there is for this key. */
export async function knock() {
    try {
        served = (await getJson('api/queries', null, { timeout: 5000 })).serves;
    } catch {
        // no answer: the panels say so
    }
}

/** A panel's answer. `as_of`, `age_s`: of the headers, since what the browser has kept of an earlier answer says another time. */
export async function panelOf(name, parameters, options) {
    const answer = await send(`api/queries/${encodeURIComponent(name)}?${parameters}`, options);
    const told = await read(answer, options?.signal);
    told.as_of = answer.headers.get('X-As-Of') ?? told.as_of;
    told.age_s = Number(answer.headers.get('Age') ?? told.age_s);
    return told;
}

export function recordOf(requestId, options) {
    return getJson(`api/request/${encodeURIComponent(requestId)}`, null, options);
}

/** Whether an error of a search says that there is none to ask, rather than what is wrong with this one. */
export function hasNoSearch({ status, code }) {
    return [404, 405, 501].includes(status) && !code.startsWith('search.no_');
}

/** Found requests: {hits: [{record, similarity}], total, next}. Raises ApiError. */
export async function search(parameters, options) {
    if (!serves('search')) {
        throw new ApiError(404, 'This service has no search', null, '');
    }
    const found = await getJson('search', parameters, options);
    const hits = found.hits ?? found.results ?? [];
    return {
        hits: hits.map((hit) => ({ record: hit.record ?? hit, similarity: hit.similarity ?? null })),
        total: found.total ?? hits.length,
        next: found.next_cursor ?? null,
    };
}

/** The record of a picture that is sent now. Raises ApiError. */
export async function classify(file) {
    const form = new FormData(); // it has a place for the file's name
    form.append('image', file, file.name || 'pasted');
    return read(await send('classify', { method: 'POST', body: form, cache: 'no-store', timeout: 60_000 }));
}

export function picturePath(imageId, side = null) {
    const path = `images/${encodeURIComponent(imageId)}`;
    return side ? `${path}/thumbnail?size=${side}` : path;
}

/** Gives an <img> its picture. With an access key it is fetched: an <img> cannot send one. Rejects where there is none. */
export async function showPicture(img, path) {
    const arrived = new Promise((resolve, reject) => {
        img.addEventListener('load', () => resolve(img), { once: true });
        img.addEventListener('error', () => reject(new ApiError(0, 'No picture', null, 'none')), { once: true });
    });
    if (!accessKey()) {
        img.src = path;
        return arrived;
    }
    const answer = await send(path, { cache: 'default' });
    if (!answer.ok) {
        throw new ApiError(answer.status, 'No picture', null, 'none');
    }
    const url = URL.createObjectURL(await answer.blob());
    img.src = url;
    return arrived.finally(() => URL.revokeObjectURL(url));
}
