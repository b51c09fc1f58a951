// Drives the demo page in Chromium, as two people in two tabs would, and takes
// pictures of it.
//
//   node demo.mjs --url http://127.0.0.1:5280/ --out DIR
//
// The demo users alice and bob must share the project of --project.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Checks, launch, must, same, settings, user } from './lib.mjs';
import { model } from './model.mjs';

const options = settings({
  url: undefined,
  out: undefined,
  domain: 'localhost',
  alice: 'alice',
  bob: 'bob',
  // Somebody who is not in the project, with the password.
  dave: 'dave',
  password: 'secret',
  project: 'Apollo',
  // How the page connects: bosh or websocket.
  transport: 'bosh',
  // Seconds for which people still count as present after their last connection broke.
  grace: '5',
  // Seconds without a request after which the server gives a BOSH session up.
  inactivity: '30',
  skip: '',
});
const DEADLINE = 15_000;
const MARKUP = `<img src=x onerror="document.title='broken'"> & 'quotes'`;

const checks = new Checks(options.skip);
const complaints = [];

// One tab. Everything that the browser complains about is remembered.
class Tab {
  constructor(page, name) {
    this.page = page;
    this.name = name;
    page.setDefaultTimeout(DEADLINE);
    page.on('pageerror', (error) => complaints.push(`${name}: ${error.message}`));
    page.on('console', (message) => {
      // A request that fails because we cut the network is no fault of the page.
      const expected = message.text().includes('ERR_INTERNET_DISCONNECTED');
      if (message.type() === 'error' && !expected) complaints.push(`${name}: ${message.text()}`);
    });
  }

  jid() {
    return `${this.name}@${options.domain}`;
  }

  async open(query) {
    const url = new URL(query, options.url);
    url.searchParams.set('transport', options.transport);
    await this.page.goto(url.href);
  }

  connected() {
    return this.page.locator('#connection[data-state="connected"]').waitFor();
  }

  card() {
    return this.page.locator(`.project[aria-label="${options.project}"]`);
  }

  row(other) {
    return this.card().locator(`li[data-jid="${other.jid()}"]`);
  }

  sees(other, state) {
    return this.card().locator(`li[data-jid="${other.jid()}"][data-state="${state}"]`).waitFor();
  }

  choose(show) {
    return this.page.locator('#states label', { has: this.page.locator(`[value="${show}"]`) }).click();
  }

  async write(text) {
    await this.page.locator('#text').fill(text);
    await this.page.locator('#send').click();
  }

  reads(text) {
    return this.page.locator('.message .text', { hasText: text }).first().waitFor();
  }

  texts() {
    return this.page.locator('.message .text').allTextContents();
  }

  picture(name) {
    return this.page.screenshot({ path: join(options.out, `${name}.png`) });
  }
}

async function enter(alice, bob) {
  await checks.need('?user= logs in at once', async () => {
    await alice.open(`?user=${alice.name}`);
    await alice.connected();
    await alice.sees(bob, 'offline');
    await alice.sees(alice, 'online');
  });
  await checks.need('the form logs in', async () => {
    await bob.open('./');
    await bob.page.locator('#sign-in:enabled').waitFor();
    await bob.picture('login-desktop');
    await bob.page.locator('#user').selectOption(bob.name);
    await bob.page.locator('#sign-in').click();
    await bob.connected();
  });
  await checks.check('both see each other online', async () => {
    await Promise.all([alice.sees(bob, 'online'), bob.sees(alice, 'online')]);
  });
}

async function states(alice, bob) {
  for (const [show, seen] of [['busy', 'busy'], ['away', 'away'], ['invisible', 'offline'], ['online', 'online']]) {
    for (const [who, other] of [[alice, bob], [bob, alice]]) {
      await checks.check(`${who.name} goes ${show}, ${other.name} sees ${seen}`, async () => {
        const begun = performance.now();
        await who.choose(show);
        await other.sees(who, seen);
        await who.sees(who, show);
        return `${Math.round(performance.now() - begun)} ms`;
      });
    }
  }
}

async function messages(alice, bob) {
  await checks.check('a message arrives, is counted while unread, and its markup stays text', async () => {
    await bob.row(alice).locator('button').click();
    await bob.write(MARKUP);
    await alice.row(bob).locator('.badge', { hasText: '1' }).waitFor();
    must((await alice.page.title()).startsWith('(1) '), 'the title does not count');
    await alice.row(bob).locator('button').click();
    await alice.reads(MARKUP);
    same(await alice.page.locator('.message img').count(), 0, 'images in messages');
    await alice.row(bob).locator('.badge').waitFor({ state: 'hidden' });
  });
  await checks.check('an answer comes back', async () => {
    await alice.write('Good morning, Bob.\nIs the launch list ready?');
    await bob.reads('Is the launch list ready?');
    await bob.write('Nearly. Ten minutes.');
    await alice.reads('Nearly. Ten minutes.');
  });
  await checks.check('project: a message reaches everybody once', async () => {
    await alice.card().locator('.write').click();
    await alice.write('Stand-up in five minutes.');
    await bob.card().locator('.write .badge', { hasText: '1' }).waitFor();
    await bob.card().locator('.write').click();
    await bob.reads('Stand-up in five minutes.');
    await bob.write('On my way.');
    await alice.reads('On my way.');
    await alice.page.locator('.message[data-mine="true"][data-arrived="true"]').waitFor();
    const want = ['Stand-up in five minutes.', 'On my way.'];
    same(await alice.texts(), want, 'alice reads');
    same(await bob.texts(), want, 'bob reads');
  });
}

async function pictures(alice, bob) {
  await checks.check('pictures', async () => {
    await bob.choose('busy');
    await alice.sees(bob, 'busy');
    await alice.card().locator('.write').click();
    await alice.picture('room-desktop');
    await alice.page.emulateMedia({ colorScheme: 'dark' });
    await alice.picture('room-desktop-dark');
    await alice.page.emulateMedia({ colorScheme: 'light' });
    await bob.page.setViewportSize({ width: 390, height: 844 });
    await bob.picture('talk-phone');
    await bob.page.locator('#back').click();
    await bob.page.locator('#log summary').click();
    await bob.picture('room-phone');
    await bob.page.emulateMedia({ colorScheme: 'dark' });
    await bob.picture('room-phone-dark');
    await bob.page.emulateMedia({ colorScheme: 'light' });
    const wide = await bob.page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    must(!wide, 'the page is wider than a phone');
    await bob.page.setViewportSize({ width: 1200, height: 800 });
    await bob.choose('online');
    await alice.sees(bob, 'online');
  });
}

async function losses(alice, bob) {
  const patience = (Number(options.inactivity) + Number(options.grace)) * 1000 + DEADLINE;
  await checks.check('a short loss of the network costs nothing', async () => {
    await alice.row(bob).locator('button').click();
    await bob.row(alice).locator('button').click();
    await bob.page.context().setOffline(true);
    await bob.page.locator('#connection[data-state="waiting"]').waitFor();
    await alice.write('Written while Bob is in the lift.');
    await alice.sees(bob, 'online');
    await bob.page.context().setOffline(false);
    await bob.connected();
    await bob.reads('Written while Bob is in the lift.');
    const copies = (await bob.texts()).filter((text) => text.includes('in the lift'));
    same(copies.length, 1, 'copies');
    must((await bob.page.locator('#log-lines').textContent()).includes('The session goes on.'), 'it was a new session');
  });
  await checks.check('the page comes back after the network was gone, and says how it was', async () => {
    await bob.choose('away');
    await alice.sees(bob, 'away');
    await bob.page.context().setOffline(true);
    await bob.page.locator('#connection[data-state="waiting"]').waitFor({ timeout: patience });
    await alice.page.locator(`.project li[data-jid="${bob.jid()}"][data-state="offline"]`).waitFor({ timeout: patience });
    await bob.page.context().setOffline(false);
    await bob.page.locator('#connection[data-state="connected"]').waitFor({ timeout: 60_000 });
    await Promise.all([alice.sees(bob, 'away'), bob.sees(alice, 'online')]);
  });
  await checks.check('a reload logs in again', async () => {
    await bob.page.reload();
    await bob.connected();
    await Promise.all([alice.sees(bob, 'online'), bob.sees(alice, 'online')]);
  });
  await checks.check('signing out is seen at once', async () => {
    const begun = performance.now();
    await bob.page.locator('#sign-out').click();
    await alice.sees(bob, 'offline');
    const took = performance.now() - begun;
    await bob.page.locator('#login').waitFor();
    return `${Math.round(took)} ms`;
  });
  await checks.check('closing the tab is seen', async () => {
    await bob.page.locator('#user').selectOption(bob.name);
    await bob.page.locator('#sign-in').click();
    await alice.sees(bob, 'online');
    const begun = performance.now();
    await bob.page.close({ runBeforeUnload: true });
    await alice.page.locator(`.project li[data-jid="${bob.jid()}"][data-state="offline"]`).waitFor({ timeout: patience });
    const took = performance.now() - begun;
    must(took < Number(options.grace) * 1000 + DEADLINE, `it took ${took} ms: the page did not say that it goes`);
    return `${Math.round(took)} ms`;
  });
}

async function strangers(browser) {
  const tab = async (name) => {
    const page = await (await browser.newContext()).newPage();
    const stranger = new Tab(page, name);
    await stranger.open('./');
    await page.locator('#user').selectOption('');
    return stranger;
  };
  await checks.check('a wrong password is said, and not tried again', async () => {
    const { page } = await tab(options.alice);
    await page.locator('#name').fill(options.alice);
    await page.locator('#password').fill('wrong');
    await page.locator('#sign-in').click();
    await page.locator('#login-error', { hasText: 'password is wrong' }).waitFor();
    await page.locator('#sign-in:enabled').waitFor();
    await page.context().close();
  });
  await checks.check('somebody else logs in by name, and an outsider sees nobody', async () => {
    const dave = user(options.dave, options.password);
    const outsider = await tab(dave.id);
    await outsider.page.locator('#name').fill(dave.id);
    await outsider.page.locator('#password').fill(dave.password);
    await outsider.page.locator('#sign-in').click();
    await outsider.connected();
    await outsider.page.locator('#nothing').waitFor();
    same(await outsider.page.locator('.project').count(), 0, 'projects');
    await outsider.page.context().close();
  });
}

async function main() {
  await mkdir(options.out, { recursive: true });
  const browser = await launch();
  try {
    const size = { viewport: { width: 1200, height: 800 }, colorScheme: 'light' };
    const [first, second] = await Promise.all([browser.newContext(size), browser.newContext(size)]);
    const alice = new Tab(await first.newPage(), options.alice);
    const bob = new Tab(await second.newPage(), options.bob);
    await enter(alice, bob);
    await model((name, run) => checks.check(name, run), alice.page);
    await strangers(browser);
    await states(alice, bob);
    await messages(alice, bob);
    await pictures(alice, bob);
    await losses(alice, bob);
    await checks.check('the last one signs out', async () => {
      const farewell = alice.page.waitForResponse((r) => (r.request().postData() ?? '').includes("type='terminate'"));
      await alice.page.locator('#sign-out').click();
      await farewell;
      await alice.page.locator('#login').waitFor();
    });
    await checks.check('the browser had nothing to complain about', async () => {
      same(complaints, [], 'complaints');
    });
  } finally {
    await browser.close();
  }
}

await checks.main(main);
