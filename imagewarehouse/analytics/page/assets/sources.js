// Who sends: addresses and users.

import { meter } from './charts.js';
import { countText, shareText } from './numbers.js';
import { figure, nothing, objects, pick, table } from './tables.js';
import { shortText } from './times.js';

export function sources(answer, context) {
    const found = objects(answer);
    if (!found.length) {
        return [nothing('Nobody sent anything in this period')];
    }
    const most = found[0].images;
    return [table('Sources by number of images',
        [{ title: 'Address', kind: 'wide' }, { title: 'User', kind: 'wide' }, { title: 'Share', kind: 'bar', unseen: true },
            { title: 'Images', kind: 'number' }, { title: 'Rejected', kind: 'number' }, { title: 'Failed', kind: 'number' },
            { title: 'Conf.', kind: 'number' }, { title: 'Last', kind: 'number when' }],
        found.map((row) => [
            pick(context, 'source', row.source_ip, { key: row.source_user ?? '' }),
            pick(context, 'user', row.source_user, { key: row.source_ip ?? '' }),
            meter(row.images / most),
            figure(row.images, countText(row.images)),
            figure(row.rejected, countText(row.rejected)),
            figure(row.failed, countText(row.failed)),
            figure(row.confidence, shareText(row.confidence, undefined, 0)),
            shortText(row.last_seen, context.tz),
        ]))];
}
