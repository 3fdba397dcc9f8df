// The pure modules of the dashboard page, without a browser: run by tests/test_dashboard_page.py.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as colours from '../../imagewarehouse/analytics/page/assets/colours.js';
import * as numbers from '../../imagewarehouse/analytics/page/assets/numbers.js';
import * as scales from '../../imagewarehouse/analytics/page/assets/scales.js';
import * as state from '../../imagewarehouse/analytics/page/assets/state.js';
import { together } from '../../imagewarehouse/analytics/page/assets/together.js';
import * as times from '../../imagewarehouse/analytics/page/assets/times.js';

const BERLIN = 'Europe/Berlin';

test('a state comes back from its address', () => {
    let one = state.toggled(state.initial(), 'class', 'a&b=c#<script>');
    one = state.toggled(state.toggled(one, 'class', '研究室'), 'source', '2001:db8::1');
    one = state.withConfidence(one, 0.05, 0.1);
    one = state.withRange({ ...one, tz: 'Asia/Kolkata', threshold: 0.9, q: 'gate 7', request: 'x' }, '2026-10-24T00:00:00Z', '2026-10-25T00:00:00Z');
    assert.deepEqual(state.fromQuery(state.toQuery(one)), { state: one, leftOut: [] });
    assert.equal(state.toQuery(state.initial()), '');
    assert.deepEqual(state.fromQuery(''), { state: state.initial(), leftOut: [] });
});

test('there are exactly five periods', () => {
    assert.deepEqual(state.PERIODS.map(({ label }) => label), ['Today', 'Yesterday', '7 days ago', 'Last week', '30 days ago']);
});

test('what cannot be read in an address counts as not given, and is named', () => {
    for (const text of ['period=never', 'since=2026-10-25T00:00Z&until=2026-10-24T00:00Z', 'since=2026-02-31', 'until=2026-10-25',
        'since=2026-10-25T24:00&until=2026-10-26', 'since=0001-01-01&until=0001-01-02', 'since=2010-01-01&until=2026-01-01', 'since=2027-01-01',
        'tz=Nowhere', 'tz=%2B02:00', 'min_confidence=2', 'max_confidence=x', 'min_confidence=0x1', 'min_confidence=0.9&max_confidence=0.1',
        'threshold=', 'status=weird', `class=${'x'.repeat(301)}`, 'class=', 'class=a%00b', 'request=', 'colour=red', 'period=today&period=today']) {
        const { state: read, leftOut } = state.fromQuery(text, BERLIN, Date.parse('2026-12-01T10:00Z'));
        assert.deepEqual(read, state.initial(), text);
        assert.ok(leftOut.length >= 1 && leftOut.every(({ name, why }) => name && why), text);
    }
    const many = new URLSearchParams(Array.from({ length: 101 }, (_, number) => ['class', `c${number}`]));
    assert.equal(state.fromQuery(many.toString()).state.filters.class.length, 100);
    assert.deepEqual(state.fromQuery('min_confidence=1&max_confidence=1').leftOut, []);
});

test('times of an address are those of its zone, else of the browser', () => {
    const range = (text) => {
        const { state: { period, since, until }, leftOut } = state.fromQuery(text, BERLIN, Date.parse('2026-12-01T10:00Z'));
        assert.deepEqual([period, leftOut], [null, []], text);
        return [since, until];
    };
    assert.deepEqual(range('since=2026-10-24&until=2026-10-26'), ['2026-10-23T22:00:00.000Z', '2026-10-25T23:00:00.000Z']);
    assert.deepEqual(range('since=2026-10-24T08:00&until=2026-10-24 09:00:30.5&tz=Asia/Kolkata'),
        ['2026-10-24T02:30:00.000Z', '2026-10-24T03:30:30.500Z']);
    assert.deepEqual(range('since=2026-10-24T00:00:00%2B02:00&until=2026-10-24T00:00z'), ['2026-10-23T22:00:00.000Z', '2026-10-24T00:00:00.000Z']);
    assert.deepEqual(range('since=2026-11-30'), ['2026-11-29T23:00:00.000Z', null]);
    assert.equal(state.toQuery(state.fromQuery('since=2026-11-30T00:00Z').state), 'since=2026-11-30T00%3A00%3A00.000Z');
});

test('zones are called as the service calls them', () => {
    const name = (text) => state.fromQuery(`tz=${text}`).state.tz;
    assert.deepEqual(['europe/berlin', 'utc', 'Asia/Kolkata', 'US/Pacific'].map(name), ['Europe/Berlin', 'UTC', 'Asia/Kolkata', 'America/Los_Angeles']);
});

test('a second click takes a filter away', () => {
    const one = state.toggled(state.initial(), 'user', 'Zoë');
    assert.ok(state.isFiltered(one));
    assert.ok(!state.isFiltered(state.toggled(one, 'user', 'Zoë')));
    assert.ok(!state.isFiltered(state.withoutFilters(one)));
});

test('the parameters of a query have a zone always', () => {
    assert.equal(state.toParameters(state.initial(), BERLIN).toString(), 'period=today&threshold=0.6&tz=Europe%2FBerlin');
});

test('wall times become instants, also where clocks change', () => {
    assert.equal(times.fromWall('2026-07-01T12:00', BERLIN), '2026-07-01T10:00:00.000Z');
    assert.equal(times.fromWall('2026-10-25T02:30', BERLIN), '2026-10-25T00:30:00.000Z'); // comes twice: the first
    assert.equal(times.fromWall('2026-03-29T02:30', BERLIN), '2026-03-29T01:30:00.000Z'); // is left out: 03:30
    assert.equal(times.fromWall('2026-10-25T00:00', 'Asia/Kolkata'), '2026-10-24T18:30:00.000Z');
    for (const wall of ['', '0001-01-01T00:00', '0099-12-31T00:00', '1899-12-31T00:00', '2026-02-30T00:00', '10000-01-01T00:00']) {
        assert.equal(times.fromWall(wall, BERLIN), null, wall);
    }
    assert.equal(times.fromWall('1900-01-01T00:00', 'UTC'), '1900-01-01T00:00:00.000Z');
    for (const instant of ['2026-01-01T00:00:00.000Z', '2026-06-30T23:45:00.000Z', '2026-10-25T02:30:00.000Z']) {
        for (const zone of [BERLIN, 'Asia/Kolkata', 'America/St_Johns', 'UTC', 'Pacific/Chatham']) {
            assert.equal(times.fromWall(times.toWall(instant, zone), zone), instant, `${instant} ${zone}`);
        }
    }
});

test('offsets are those of the day', () => {
    assert.equal(times.offsetText('2026-07-01T00:00:00Z', BERLIN), '+02:00');
    assert.equal(times.offsetText('2026-12-01T00:00:00Z', BERLIN), '+01:00');
    assert.equal(times.offsetText('2026-12-01T00:00:00Z', 'America/St_Johns'), '\u221203:30');
});

test('whole days are called by their dates', () => {
    assert.equal(times.rangeText('2026-11-29T23:00:00Z', '2026-11-30T23:00:00Z', BERLIN, 'en-GB'), '30 Nov 2026');
    assert.equal(times.bucketText('2026-10-25T00:00:00Z', '2026-10-25T01:00:00Z', BERLIN, 'en-GB').short, '02:00');
    assert.equal(times.agoText(3700, 'en'), '1h ago');
});

test('times have 24 hours in every language', () => {
    const [midnight, late] = ['2026-11-30T23:00:00Z', '2026-12-01T10:09:00Z'];
    assert.equal(times.rangeText(midnight, late, BERLIN, 'en-US').replace(/\s/g, ' '), 'Dec 1, 00:00 – 11:09');
    for (const text of [times.timeText(late, BERLIN, 'en-US'), times.dateTimeText(late, BERLIN, 'en-US'), times.shortText(late, BERLIN, 'en-US'),
        times.bucketText(midnight, late, BERLIN, 'en-US').long]) {
        assert.match(text, /11:09/);
        assert.doesNotMatch(text, /[AP]M/);
    }
});

test('numbers are written as the reader writes them', () => {
    assert.equal(numbers.countText(1234567, 'de'), '1.234.567');
    assert.equal(numbers.countText(null), '–');
    assert.equal(numbers.shareText(0.1234, 'en'), '12.3%');
    assert.equal(numbers.changeText(0.5, 'en'), '+50%');
    assert.equal(numbers.changeText(-0.024, 'en'), '-2.4%');
    assert.equal(numbers.changeText(20, 'en'), '×21');
    assert.equal(numbers.changeText(-0.97, 'en', 'never'), '97%');
    assert.equal(numbers.bytesText(0, 'en'), '0 bytes');
    assert.equal(numbers.bytesText(1500, 'en'), '1.5 kB');
    assert.equal(numbers.bytesText(999_999_999, 'en'), '1 GB');
    assert.equal(numbers.msText(0.1234, 'en'), '0.12 ms');
    assert.equal(numbers.msText(123_456, 'en'), '123 sec');
});

test('an axis ends at a round number above everything', () => {
    for (const most of [1, 3, 7, 10, 11, 99, 100, 101, 1393, 123_456]) {
        const { top, ticks } = scales.axis(most);
        assert.ok(top >= most && top <= most * 2.5 + 1, `${most}: ${top}`);
        assert.ok(ticks.length >= 2 && ticks.length <= 6, `${most}: ${ticks}`);
        assert.ok(ticks.every(Number.isInteger));
    }
    assert.deepEqual(scales.axis(0), { top: 1, ticks: [0, 1] });
});

test('counts stand on each other, whole', () => {
    const rows = [['a', 'classified', 'cat', 2], ['a', 'rejected', null, 3], ['b', 'classified', 'dog', 5], ['b', 'classified', 'cat', 1],
        ['gone', 'classified', 'cat', 9]];
    const { series, cells, totals } = scales.byColumn(['a', 'b'], rows);
    assert.deepEqual(series.map(({ key }) => key), ['class:dog', 'class:cat', 'status:rejected']);
    assert.deepEqual(totals, [5, 6]);
    const pieces = scales.stacked(series.map(({ key }) => key), cells, 2);
    assert.deepEqual(pieces[0].map(({ from, to }) => [from, to]), [[0, 2], [2, 5]]);
    assert.deepEqual(pieces[1].map(({ key }) => key), ['class:dog', 'class:cat']);
});

test('many classes are one piece', () => {
    const rows = Array.from({ length: 30 }, (_, number) => ['a', 'classified', `class ${number}`, 30 - number]);
    const { series } = scales.byColumn(['a'], rows, 10);
    assert.equal(series.length, 11);
    assert.equal(series[10].name, '20 other classes');
    assert.equal(series.reduce((sum, { images }) => sum + images, 0), 465);
});

test('a class that is called like a status is none', () => {
    const { series } = scales.byColumn(['a'], [['a', 'classified', 'rejected', 1], ['a', 'rejected', null, 1]]);
    assert.equal(series.length, 2);
});

test('drift has levels', () => {
    assert.deepEqual([null, 0.05, 0.1, 0.25, 0.26].map((index) => scales.driftLevel(index, 50)), ['unknown', 'steady', 'moving', 'moving', 'drifted']);
    assert.deepEqual([49, 0, undefined, NaN].map((images) => scales.driftLevel(3, images)), ['few', 'few', 'unknown', 'unknown']);
});

test('colours go to the classes of the model first, and stay', () => {
    assert.equal(colours.colourOf('early'), 'c-other');
    colours.learn(colours.orderOf([['ant', 0.1, 0, null], ['bee', 0.2, 0, 0.5], ['cat', 0.3, 0, 0.5]]));
    assert.deepEqual(['bee', 'cat', 'ant', 'new'].map(colours.colourOf), ['c0', 'c1', 'c2', 'c3']);
    colours.learn(['other', 'bee']);
    assert.equal(colours.colourOf('bee'), 'c0');
    for (let number = 0; number < 40; number += 1) {
        assert.match(colours.colourOf(`class ${number}`), /^c\d$/);
    }
});

test('what comes within a moment goes on together', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const said = [];
    const turn = together(4, 100, () => said.push('|'));
    const wait = (name) => turn().then(() => said.push(name));
    wait('a');
    wait('b');
    t.mock.timers.tick(99);
    await null;
    assert.deepEqual(said, []);
    t.mock.timers.tick(1);
    await Promise.resolve();
    assert.deepEqual(said, ['|', 'a', 'b']);
    wait('c');
    await wait('d'); // the last one: nothing is left to wait for
    assert.deepEqual(said, ['|', 'a', 'b', '|', 'c', 'd']);
    t.mock.timers.tick(1000);
    assert.equal(said.length, 6);
});

test('how long ago is said in the language that is asked for', () => {
    assert.equal(times.agoText(90, 'en'), '1m ago');
    assert.notEqual(times.agoText(90, 'de'), '1m ago');
    assert.equal(times.agoText(7200, 'en'), '2h ago');
});
