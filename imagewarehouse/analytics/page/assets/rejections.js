// Why requests were rejected, or failed.

import { barred } from './charts.js';
import { countText } from './numbers.js';
import { figure, nothing, objects, pick, table } from './tables.js';

export function rejections(answer, context) {
    const found = objects(answer);
    if (!found.length) {
        return [nothing('Nothing was rejected, nothing failed')];
    }
    const most = found[0].images;
    return [table('Rejected and failed requests by reason',
        [{ title: 'Reason', kind: 'wide' }, { title: 'Requests', kind: 'number' },
            { title: 'Sources', kind: 'number' }],
        found.map((row) => [
            barred(row.images / most, `s-${row.status}`,
                pick(context, 'error', row.error_code, { swatch: `s-${row.status}`, key: row.status })),
            figure(row.images, countText(row.images)),
            figure(row.sources, countText(row.sources)),
        ]))];
}
