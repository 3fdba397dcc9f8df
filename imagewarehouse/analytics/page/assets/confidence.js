// How sure the model was, in twenty steps, and how many images lie under a threshold.

import { columnChart } from './charts.js';
import { h } from './dom.js';
import { countText, decimalText, shareText } from './numbers.js';
import { figure, nothing, table } from './tables.js';

export function confidence(answer, context) {
    const { threshold, images, below, below_share: share } = answer.facts;
    const head = h('p', { class: 'lead' },
        h('label', {}, 'Below ', h('input', {
            type: 'number', min: 0, max: 1, step: 0.05, value: threshold, data: { key: 'threshold' },
            'aria-label': 'Threshold of confidence, 0 to 1',
            on: { change: ({ target }) => context.threshold(target.value) },
        })), ' ', h('strong', {}, figure(share, shareText(share))), ' ',
        h('span', { class: 'quiet' }, figure(below, countText(below)), ' of ', figure(images, countText(images))));
    if (!images) {
        return [head, nothing('Nothing was classified in this period')];
    }
    const { minConfidence, maxConfidence } = context.state;
    const columns = answer.rows.map(([from, to, count]) => {
        const name = `${decimalText(from)}\u2013${decimalText(to)}`;
        return {
            key: `bin:${from}`, short: decimalText(from, 1), long: `Confidence ${name}`, total: count,
            said: `${countText(count)} images`,
            pieces: count ? [{ from: 0, to: count, count, colour: to <= threshold + 1e-9 ? 'c-low' : 'c-plain', name: null }] : [],
        };
    });
    if (context.asTable) {
        return [head, table('Images by confidence',
            [{ title: 'Confidence' }, { title: 'Images', kind: 'number' }],
            columns.map(({ long, total }) => [long.replace('Confidence ', ''), figure(total, countText(total))]))];
    }
    const picked = answer.rows.findIndex(([from, to]) => from === minConfidence && to === (maxConfidence ?? 1));
    return [head, columnChart({
        columns, width: context.width, height: Math.max(130, context.height - 32), middle: false, every: 4,
        label: 'Images by confidence; arrow keys go from column to column, Enter shows one alone',
        chosen: picked >= 0 ? picked : null,
        marker: { at: threshold, name: '' },
        onPick: (number) => context.confidence(answer.rows[number][0], answer.rows[number][1]),
    })];
}
