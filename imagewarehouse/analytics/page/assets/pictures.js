// Thumbnails, and a quiet place where there is none.

import { picturePath, serves, showPicture } from './api.js';
import { h } from './dom.js';

const missing = new Set(); // a refresh does not ask again for what is not kept

/** A box with the thumbnail of a picture; nothing where the service has none. `side` in CSS pixels: 24, 44 or 72. */
export function thumbnail(imageId, side) {
    if (!serves('thumbnail')) {
        return null;
    }
    const box = h('span', { class: `thumb t${side}`, 'aria-hidden': 'true' });
    if (imageId && !missing.has(imageId)) {
        const img = h('img', { alt: '', width: side, height: side, decoding: 'async', loading: 'lazy' });
        box.append(img);
        painted().then(() => showPicture(img, picturePath(imageId, side <= 48 ? 96 : 160))).catch(() => {
            missing.add(imageId);
            img.remove(); // not kept, or a service without pictures: the box stays
            box.classList.add('bare');
        });
    } else {
        box.classList.add('bare');
    }
    return box;
}

/** After what is drawn now is seen: pictures come behind the figures. Of a page that is hidden: once it is shown. */
function painted() {
    return new Promise((resolve) => {
        requestAnimationFrame(() => setTimeout(resolve));
    });
}
