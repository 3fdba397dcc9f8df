// Versions of the model beside each other.

import { h } from './dom.js';
import { countText, decimalText, msText, shareText } from './numbers.js';
import { driftLevel } from './scales.js';
import { figure, nothing, objects, pick, since, table } from './tables.js';

export function models(answer, context) {
    const found = objects(answer);
    if (!found.length) {
        return [nothing('No model has answered in this period')];
    }
    return [table('Model versions',
        [{ title: 'Version', kind: 'wide' }, { title: 'Images', kind: 'number' }, { title: 'Conf.', kind: 'number' },
            { title: 'Low', kind: 'number' }, { title: 'Inference', kind: 'number' }, { title: 'PSI', kind: 'number' },
            { title: 'Last', kind: 'number when' }],
        found.map((row) => [
            pick(context, 'model', `${row.model_name}/${row.model_version}`, { text: `${row.model_name} ${row.model_version}` }),
            figure(row.images, countText(row.images)), figure(row.confidence, shareText(row.confidence, undefined, 0)),
            figure(row.below, shareText(row.below)), figure(row.inference_ms, msText(row.inference_ms)),
            h('span', { class: `level-${driftLevel(row.index)}` }, figure(row.index, decimalText(row.index, 3))),
            since(row.last_seen, context.tz),
        ]))];
}
