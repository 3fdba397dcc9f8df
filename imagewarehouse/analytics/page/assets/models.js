// Versions of the model beside each other.

import { h } from './dom.js';
import { countText, decimalText, msText, shareText } from './numbers.js';
import { driftLevel, LEVELS } from './scales.js';
import { figure, nothing, objects, pick, since, table } from './tables.js';

/** The index of a version, in a colour where enough images say so. */
function drifting({ index, images }) {
    const level = driftLevel(index, images);
    return h('span', { class: `level-${level}`, title: level === 'few' ? LEVELS.few : null }, figure(index, decimalText(index, 3)));
}

export function models(answer, context) {
    const found = objects(answer);
    if (!found.length) {
        return [nothing('No model has answered in this period')];
    }
    return [table('Model versions',
        [{ title: 'Version', kind: 'wide' }, { title: 'Images', kind: 'number' }, { title: 'Conf.', means: 'Mean confidence', kind: 'number' },
            { title: 'Low', means: `Share with a confidence below ${decimalText(context.state.threshold)}`, kind: 'number' }, { title: 'Inference', kind: 'number' }, { title: 'PSI', means: 'Stability index (PSI) of its classes against those of all versions: below 0.1 steady, above 0.25 drifted', kind: 'number' },
            { title: 'Last', kind: 'number when' }],
        found.map((row) => [
            pick(context, 'model', `${row.model_name}/${row.model_version}`, { text: `${row.model_name} ${row.model_version}` }),
            figure(row.images, countText(row.images)), figure(row.confidence, shareText(row.confidence, undefined, 0)),
            figure(row.below, shareText(row.below)), figure(row.inference_ms, msText(row.inference_ms)),
            drifting(row),
            since(row.last_seen, context.tz),
        ]))];
}
