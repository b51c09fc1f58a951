// Loads a page again and again while its strophe.js has a session over BOSH, and
// looks at what is lost.
//
//   node reload.mjs --url http://127.0.0.1:5280
//
// alice and bob must share a project.

import { Checks, launch, must, PAIR, same, settings, user } from './lib.mjs';
import { Tab, servePage } from './tab.mjs';

const options = settings(PAIR);
const RELOADS = 2;

const checks = new Checks();
const check = (name, run) => checks.check(name, run);

// Sends messages, and returns when the server has taken them all.
let count = 0;
const sent = [];
async function write(from, to, n) {
  for (let i = 0; i < n; i++) {
    const id = `m${++count}`;
    sent.push(id);
    await from.call('message', to.jid, id, id);
    // Each on its own, so that the server has to decide for each where it goes.
    await ping(from);
  }
}

function ping(tab) {
  return tab.call('iq', `<iq xmlns='jabber:client' type='get' id='p${++count}'><ping xmlns='urn:xmpp:ping'/></iq>`);
}

// Loads bob's page again. What happens in between, after the old page has gone and
// before the new one does anything, is up to meanwhile.
async function reload(site, bob, meanwhile) {
  const script = site.hold('/client.js');
  const reloaded = bob.page.reload();
  await script.requested;
  await meanwhile();
  script.release();
  await reloaded;
  await bob.restore();
}

async function reloads(site, alice, bob) {
  await check('a reload keeps the session, loses nothing and repeats nothing', async () => {
    const since = await alice.now();
    const before = await bob.call('session');
    for (let i = 0; i < RELOADS; i++) {
      await write(alice, bob, 3);
      await bob.expect(0, { kind: 'message', id: sent.at(-1) });
      await reload(site, bob, () => write(alice, bob, 3));
      const after = await bob.call('session');
      same([after.sid, after.jid], [before.sid, before.jid], 'sid and address');
    }
    await write(alice, bob, 3);
    await bob.expect(0, { kind: 'message', id: sent.at(-1) });
    same(await bob.call('received'), sent, 'bob received');
    same(await presencesOf(bob, alice, since), [], 'alice saw of bob');
  });
  await check('a reload with nothing to say in between', async () => {
    const before = await bob.call('session');
    await reload(site, bob, () => {});
    await ping(bob);
    same((await bob.call('session')).sid, before.sid, 'sid');
  });
  await check('what the page sent right before a reload arrives once', async () => {
    const since = await alice.now();
    // The idle timer of strophe.js would send it after 100 ms; the request is made at
    // once where none but the held one is under way.
    await bob.call('message', alice.jid, 'farewell', 'farewell');
    await alice.expect(since, { kind: 'message', id: 'farewell' });
    await reload(site, bob, () => {});
    await bob.call('message', alice.jid, 'again', 'again');
    await alice.expect(since, { kind: 'message', id: 'again' });
    const came = (await alice.events()).slice(since).filter(({ kind }) => kind === 'message').map(({ id }) => id);
    same(came, ['farewell', 'again'], 'alice received');
  });
  await check('nobody saw bob go', async () => {
    // Whoever were taken for gone would be shown so after the grace time.
    await new Promise((resolve) => setTimeout(resolve, (Number(options.grace) + 1) * 1000));
    await ping(alice);
    const last = (await presencesOf(bob, alice, 0)).map(({ type }) => type);
    same(last, ['available'], 'alice saw of bob');
  });
}

async function presencesOf(other, tab, since) {
  return (await tab.events()).slice(since).filter((e) => e.kind === 'presence' && e.from === other.jid);
}

async function main() {
  const site = await servePage();
  const browser = await launch();
  const service = new URL(options.path, options.url).href;
  const open = (name) => Tab.open(browser, site.url, service, user(name, options.password), options.domain);
  try {
    const [alice, bob] = await Promise.all([open(options.alice), open(options.bob)]);
    await checks.need('they log in', async () => {
      await alice.login();
      await alice.call('presence');
      await alice.expect(0, { kind: 'presence', from: alice.jid });
      await bob.login({ keepalive: true });
      await bob.call('presence');
      await alice.expect(0, { kind: 'presence', from: bob.jid });
      must(await bob.call('session'), 'strophe.js has not kept the session');
    });
    await reloads(site, alice, bob);
    await check('logging out after a reload is seen at once', async () => {
      const since = await alice.now();
      await bob.call('disconnect');
      await alice.expect(since, { kind: 'presence', from: bob.jid, type: 'unavailable' }, 3000);
    });
    await check('no page had an error', async () => {
      same([alice, bob].flatMap(({ complaints }) => complaints), [], 'errors');
    });
  } finally {
    await browser.close();
    site.close();
  }
}

await checks.main(main);
