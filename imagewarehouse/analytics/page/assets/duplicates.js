// Pictures that came more than once.

import { colourOf } from './colours.js';
import { foreign, h } from './dom.js';
import { countText } from './numbers.js';
import { thumbnail } from './pictures.js';
import { cut, figure, nothing, objects, pick, since, table } from './tables.js';

export const SHOWN = 20;

export function duplicates(answer, context) {
    const found = objects(answer);
    if (!found.length) {
        return [nothing('No picture came twice')];
    }
    return [table('Pictures that came more than once',
        [{ title: 'Picture', kind: 'wide' }, { title: 'Class', kind: 'wide' }, { title: 'Times', kind: 'number' },
            { title: 'Sources', kind: 'number' }, { title: 'Last', kind: 'number when' }],
        found.map((row) => [
            h('button', {
                type: 'button', class: 'pick with-picture', 'aria-pressed': String(context.state.filters.image.includes(row.image_id)),
                data: { key: `image:${row.image_id}` }, on: { click: () => context.toggle('image', row.image_id) },
            }, thumbnail(row.image_id, 24), foreign(row.file_name ?? row.image_id.slice(0, 12))),
            pick(context, 'class', row.predicted_class,
                { swatch: row.predicted_class === null ? null : colourOf(row.predicted_class), key: row.image_id }),
            figure(row.images, countText(row.images)), figure(row.sources, countText(row.sources)),
            since(row.last_seen, context.tz),
        ])),
    cut(found, answer.facts.pictures)];
}
