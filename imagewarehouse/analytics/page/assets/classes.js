// The most frequent objects.

import { barred } from './charts.js';
import { colourOf } from './colours.js';
import { changeText, countText, shareText } from './numbers.js';
import { cut, figure, nothing, objects, pick, table } from './tables.js';

export function classes(answer, context) {
    const found = objects(answer);
    if (!found.length) {
        return [nothing('Nothing was classified in this period')];
    }
    const most = found[0].share;
    return [table('Classes by number of images',
        [{ title: 'Class', kind: 'wide' }, { title: 'Images', kind: 'number' },
            { title: 'Share', kind: 'number' }, { title: 'Change', kind: 'number' }, { title: 'Conf.', means: 'Mean confidence', kind: 'number' }],
        found.map((row) => [
            barred(row.share / most, colourOf(row.predicted_class),
                pick(context, 'class', row.predicted_class, { swatch: colourOf(row.predicted_class) })),
            figure(row.images, countText(row.images)),
            figure(row.share, shareText(row.share)),
            figure(row.change, row.change === null ? 'new' : changeText(row.change)),
            figure(row.confidence, shareText(row.confidence, undefined, 0)),
        ])),
    cut(found, answer.facts.classes)];
}

export function classesNote(answer) {
    const { classes: number } = answer.facts;
    return number > answer.rows.length ? `${countText(answer.rows.length)} of ${countText(number)}` : countText(number);
}
