// Who sends: addresses and users.

import { barred } from './charts.js';
import { countText, shareText } from './numbers.js';
import { cut, figure, nothing, objects, pick, since, table } from './tables.js';

export const SHOWN = 50;

export function sources(answer, context) {
    const found = objects(answer);
    if (!found.length) {
        return [nothing('Nobody sent anything in this period')];
    }
    const most = found[0].images;
    return [table('Sources by number of images',
        [{ title: 'Address', kind: 'wide' }, { title: 'User', kind: 'wide' },
            { title: 'Images', kind: 'number' }, { title: 'Rejected', kind: 'number' }, { title: 'Failed', kind: 'number' },
            { title: 'Conf.', means: 'Mean confidence', kind: 'number' }, { title: 'Last', kind: 'number when' }],
        found.map((row) => [
            barred(row.images / most, 'c-plain', pick(context, 'source', row.source_ip, { key: row.source_user ?? '' })),
            pick(context, 'user', row.source_user, { key: row.source_ip ?? '' }),
            figure(row.images, countText(row.images)),
            figure(row.rejected, countText(row.rejected)),
            figure(row.failed, countText(row.failed)),
            figure(row.confidence, shareText(row.confidence, undefined, 0)),
            since(row.last_seen, context.tz),
        ])),
    cut(found, answer.facts.sources)];
}
