// How long each stage takes, on one logarithmic scale.

import { h } from './dom.js';
import { countText, msText } from './numbers.js';
import { logPlace } from './scales.js';
import { figure, nothing, objects, table } from './tables.js';

const NAMES = { preprocess: 'Preprocess', inference: 'Inference', total: 'Total' };

const PERCENTILES = [['p50', 'Half'], ['p95', '95 %'], ['p99', '99 %']];

export function latency(answer) {
    const found = objects(answer).filter(({ images }) => images > 0);
    if (!found.length) {
        return [nothing('No times in this period')];
    }
    const least = Math.max(0.001, Math.min(...found.map(({ p50 }) => p50)) / 2);
    const most = Math.max(...found.map(({ p99 }) => p99)) * 1.3;
    return [table('Latency by stage: half, 95 % and 99 % of the requests took no longer',
        [{ title: 'Stage', kind: 'text' }, { title: 'From p50 to p99', kind: 'bar', unseen: true },
            ...PERCENTILES.map(([title, part]) => ({ title, means: `${part} of the requests took no longer`, kind: 'number' }))],
        found.map((row) => [
            h('span', { title: `${countText(row.images)} requests, at most ${msText(row.most)}` }, NAMES[row.stage] ?? row.stage),
            h('span', { class: 'spread', 'aria-hidden': 'true' }, ['p50', 'p95', 'p99'].map((name) =>
                h('i', { class: name, percent: logPlace(row[name], least, most) * 100 }))),
            figure(row.p50, msText(row.p50)), figure(row.p95, msText(row.p95)), figure(row.p99, msText(row.p99)),
        ]), { class: 'latency' }),
    h('p', { class: 'key-line', 'aria-hidden': 'true' }, ['p50', 'p95', 'p99'].map((name) =>
        h('span', {}, h('i', { class: `dot ${name}` }), name)), h('span', {}, 'logarithmic scale'))];
}
