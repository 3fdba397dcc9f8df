// Whether the classes still come as in training and as before, and whether the model is as sure.

import { meter } from './charts.js';
import { colourOf } from './colours.js';
import { h } from './dom.js';
import { decimalText, shareText } from './numbers.js';
import { driftLevel, LEVELS } from './scales.js';
import { figure, nothing, objects, pick, table } from './tables.js';

const INDEXES = [
    { name: 'index_training', label: 'Classes compared with training' },
    { name: 'index_before', label: 'Classes compared with the period before' },
    { name: 'index_confidence', label: 'Confidence compared with the period before' },
];

export function drift(answer, context) {
    const { images: now, images_before: before } = answer.facts;
    const indexes = h('ul', { class: 'indexes' }, INDEXES.map(({ name, label }) => {
        const value = answer.facts[name];
        const level = driftLevel(value, name === 'index_training' ? now : Math.min(now, before));
        return h('li', { class: level, data: { fact: name } },
            h('span', { class: 'label' }, label),
            h('strong', {}, figure(value, decimalText(value, 3))),
            h('span', { class: 'level' }, LEVELS[level]));
    }));
    const found = objects(answer).filter((row) => row.share || row.before || row.training);
    if (!found.length) {
        return [indexes, nothing('Nothing was classified in this period')];
    }
    const most = Math.max(...found.flatMap((row) => [row.share ?? 0, row.before ?? 0, row.training ?? 0]));
    found.sort((a, b) => (b.share ?? 0) - (a.share ?? 0));
    return [indexes, table('Share of each class now, before and in training',
        [{ title: 'Class', kind: 'wide' }, { title: 'Shares', kind: 'bar', unseen: true }, { title: 'Now', kind: 'number' },
            { title: 'Before', kind: 'number' }, { title: 'Training', kind: 'number' }],
        found.map((row) => [
            pick(context, 'class', row.predicted_class, { swatch: colourOf(row.predicted_class), key: 'drift' }),
            meter((row.share ?? 0) / most, colourOf(row.predicted_class),
                ...(row.before === null ? [] : [{ at: row.before / most, kind: 'before' }]),
                ...(row.training === null ? [] : [{ at: row.training / most, kind: 'training' }])),
            figure(row.share, shareText(row.share)), figure(row.before, shareText(row.before)),
            figure(row.training, shareText(row.training)),
        ])),
    h('p', { class: 'key-line', 'aria-hidden': 'true' },
        h('span', {}, h('i', { class: 'line before' }), 'before'), h('span', {}, h('i', { class: 'line training' }), 'training'))];
}

export function driftNote(answer, { state: { filters, minConfidence, maxConfidence } }) {
    const isCut = filters.class.length > 0 || minConfidence !== null || maxConfidence !== null;
    return `stability index: below 0.1 steady, above 0.25 drifted${isCut ? '; of a filtered mix' : ''}`;
}
