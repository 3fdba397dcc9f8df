// The pictures of docs/nifi.md, taken from a running NiFi without users: `python -m tools.local_nifi --port 8080`.
//
//     npm install --prefix build/screenshots playwright-core @sparticuz/chromium
//     cd build/screenshots
//     node ../../tools/screenshots.mjs import http://127.0.0.1:8080 ../../flows/image-warehouse.json
//     imagewarehouse deploy --nifi http://127.0.0.1:8080, and requests for as long as the pictures take, the last one refused
//     node ../../tools/screenshots.mjs pictures http://127.0.0.1:8080 ../../docs
//
// `import` clicks through the import as docs/nifi.md tells it and leaves nifi-import.png in the current folder; `pictures`
// looks only. Groups are shown as NiFi opens them, in the window that tests/test_canvas.py holds the layout to. The environment
// variable CHROMIUM names a browser to use instead of the package's, which is not needed then.

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import path from 'node:path';
import process from 'node:process';

const [step, url, where] = process.argv.slice(2);
if (!['import', 'pictures'].includes(step) || !where) {
    console.error('usage: screenshots.mjs import NIFI FLOW | screenshots.mjs pictures NIFI FOLDER');
    process.exit(2);
}
const GROUP = 'Image Warehouse';
const WINDOW = { width: 1440, height: 900 };
const require = createRequire(path.resolve('package.json'));
const { chromium } = require('playwright-core');

async function launch() {
    if (process.env.CHROMIUM) {
        return chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
    }
    const packed = (await import(pathToFileURL(require.resolve('@sparticuz/chromium')))).default;
    return chromium.launch({ executablePath: await packed.executablePath(), args: packed.args });
}

async function api(name) {
    const answer = await fetch(`${url}/nifi-api${name}`);
    if (!answer.ok) {
        throw new Error(`${name}: ${answer.status} ${await answer.text()}`);
    }
    return answer.json();
}

async function groups(parent) {
    const found = await api(`/process-groups/${parent}/process-groups`);
    return Object.fromEntries(found.processGroups.map((one) => [one.component.name, one.id]));
}

async function open(page, place) {
    await page.goto('about:blank'); // the same address again would not be loaded anew
    await page.goto(`${url}/nifi/#${place}`);
    await page.waitForLoadState('networkidle');
    await page.waitForTimeout(2500); // the canvas draws itself after the last answer
}

async function importFlow(page) {
    await open(page, '/');
    const box = await page.locator('new-canvas-item button').nth(3).boundingBox(); // process group
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x + 60, y + 60, { steps: 5 });
    await page.mouse.move(700, 400, { steps: 15 });
    await page.mouse.up();
    const dialog = page.locator('create-process-group');
    await dialog.waitFor();
    await dialog.locator('input[type=file]').setInputFiles(where);
    await dialog.locator('input[formcontrolname=newProcessGroupName]').fill(GROUP);
    await page.waitForTimeout(500);
    await page.screenshot({ path: 'nifi-import.png' });
    await dialog.getByRole('button', { name: 'Add' }).click();
    await dialog.waitFor({ state: 'detached', timeout: 120_000 });
    console.log(Object.keys(await groups('root')).join(', '));
}

async function takePictures(page) {
    const root = (await groups('root'))[GROUP];
    const inside = await groups(root);
    const shot = async (name, options = {}) => {
        await page.screenshot({ path: path.join(where, name), ...options });
        console.log(name);
    };
    const corner = { x: 0, y: 0, width: WINDOW.width };
    const canvas = (id) => open(page, `/process-groups/${id}`);
    await canvas(root); // labels are broken into lines before the font is there, so once for nothing
    await canvas(root);
    await shot('canvas.png');
    await canvas(inside['Handle Request']);
    await shot('nifi-handle-request.png');
    await canvas(inside['Storing Result']);
    await shot('nifi-storing-result.png');
    await open(page, `/process-groups/${root}/controller-services`);
    await shot('nifi-services.png', { clip: { ...corner, height: 330 } });
    const contexts = (await api('/flow/parameter-contexts')).parameterContexts;
    await open(page, `/parameter-contexts/${contexts[0].id}/edit`);
    await page.getByRole('tab', { name: 'Parameters' }).click();
    await page.waitForTimeout(1000);
    await shot('nifi-parameters.png');
    await open(page, '/provenance');
    await page.locator('tr.mat-mdc-row').first().waitFor();
    await shot('nifi-provenance.png', { clip: { ...corner, height: 560 } });
    await open(page, '/bulletins'); // empty where nothing is wrong: take a port away from a listener first
    await shot('nifi-bulletins.png', { clip: { ...corner, height: 400 } });
}

const browser = await launch();
try {
    const page = await browser.newPage({ viewport: WINDOW });
    await (step === 'import' ? importFlow(page) : takePictures(page));
} finally {
    await browser.close();
}
