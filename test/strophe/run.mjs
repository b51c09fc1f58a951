// Tests a server with strophe.js in Chromium, over BOSH or WebSocket:
//
//   node run.mjs --url http://127.0.0.1:5280 [--inactivity 3] [--grace 1] ...
//   node run.mjs --url ws://127.0.0.1:5280 --path /xmpp-websocket ...
//
// alice and bob must share a project that dave is not in.

import { Checks, launch, must, PAIR, same, settings, user } from './lib.mjs';
import { lostAnswers } from './losses.mjs';
import { queries } from './queries.mjs';
import { Tab, servePage } from './tab.mjs';

const options = settings({
  ...PAIR,
  'service-host': 'wtmuc.localhost',
  dave: 'dave',
  project: 'Apollo',
  'project-id': 'p1',
  // Seconds without a request after which the server gives a session up.
  inactivity: '30',
  // Parts of the names of checks to leave out, for other servers.
  skip: '',
});
const MECHANISMS = {
  'SCRAM-SHA-1': 'SASLSHA1',
  'SCRAM-SHA-256': 'SASLSHA256',
  'SCRAM-SHA-512': 'SASLSHA512',
  PLAIN: 'SASLPlain',
};
const BOSH = !options.url.startsWith('ws');
const AT_ONCE = 3000; // ms; far below inactivity would do, but machines are slow at times

const checks = new Checks(options.skip);
const check = (name, run) => checks.check(name, run);

async function logins(open, alice) {
  await checks.need('SCRAM login, across origins', async () => {
    const used = await alice.login();
    must(used.startsWith('SCRAM-SHA-'), `used ${used}`);
    return used;
  });
  const offered = await alice.page.evaluate(() => client.offered ?? []);
  for (const [name, mechanism] of Object.entries(MECHANISMS)) {
    if (name === 'PLAIN' && !offered.includes(name)) continue;
    await check(`login with ${name}`, async () => {
      const tab = await open(options.alice);
      same(await tab.login({ mechanism }), name, 'mechanism');
      await tab.call('disconnect');
      await tab.close();
    });
  }
  await check('login with credentials (cookies) allowed', async () => {
    const tab = await open(options.alice);
    await tab.login({ withCredentials: true });
    await tab.call('disconnect');
    await tab.close();
  });
  await check('a wrong password and an unknown user fail alike', async () => {
    const tab = await open(options.alice);
    const outcome = (t, o) => t.login(o).then(() => 'logged in', (error) => error.message.split('\n')[0]);
    const wrong = await outcome(tab, { password: 'wrong' });
    must(wrong.includes('AUTHFAIL'), `a wrong password: ${wrong}`);
    const unknown = await open('nobody-of-that-name');
    same(await outcome(unknown, {}), wrong, 'an unknown user');
    await Promise.all([tab.close(), unknown.close()]);
  });
}

function rosterOf(xml) {
  return [...xml.matchAll(/<item\b([^>]*)(?:\/>|>(.*?)<\/item>)/gs)].map(([, attributes, inner]) => ({
    jid: /\bjid=["']([^"']*)/.exec(attributes)?.[1],
    subscription: /\bsubscription=["']([^"']*)/.exec(attributes)?.[1],
    groups: [...(inner ?? '').matchAll(/<group\b[^>]*>([^<]*)/g)].map((match) => match[1]),
  }));
}

async function rosters(alice, bob, dave) {
  const ask = async (tab) => rosterOf(await tab.call('iq', `<iq xmlns='jabber:client' type='get' id='r-${tab.account.id}'><query xmlns='jabber:iq:roster'/></iq>`));
  await check('the roster has the co-member in a group of the project', async () => {
    const item = (await ask(alice)).find(({ jid }) => jid === bob.jid);
    must(item, 'no item');
    same(item.subscription, 'both', 'subscription');
    must(item.groups.includes(options.project), `groups ${item.groups}`);
  });
  await check('who shares no project is in no roster', async () => {
    await ask(bob);
    const jids = (await ask(dave)).map(({ jid }) => jid);
    must(!jids.includes(alice.jid) && !jids.includes(bob.jid), `the roster has ${jids}`);
  });
}

async function presences(alice, bob, dave) {
  await check('available: both see each other', async () => {
    const [a, b] = [await alice.now(), await bob.now()];
    await alice.call('presence');
    await dave.call('presence');
    await alice.expect(a, { kind: 'presence', from: alice.jid, type: 'available' });
    await bob.call('presence');
    await alice.expect(a, { kind: 'presence', from: bob.jid, type: 'available', show: '' });
    await bob.expect(b, { kind: 'presence', from: alice.jid, type: 'available', show: '' });
  });
  for (const show of ['dnd', 'away', 'xa', 'chat', '']) {
    await check(`show ${show || 'none'} is seen`, async () => {
      const since = await alice.now();
      await bob.call('presence', show);
      await alice.expect(since, { kind: 'presence', from: bob.jid, type: 'available', show });
    });
  }
  for (const [show, status] of [['dnd', '2'], ['away', '3'], ['', '1']]) {
    await check(`project: presence says status ${status} and the shared project`, async () => {
      const since = await alice.now();
      await bob.call('presence', show);
      const seen = await alice.expect(since, { kind: 'presence', from: bob.jid, show, status });
      same(seen.projects, [options['project-id']], 'projects');
      must(seen.resource, 'presence from a bare address');
    });
  }
  await check('legacy show busy arrives as dnd', async () => {
    const since = await alice.now();
    await bob.call('presence', 'busy');
    await alice.expect(since, { kind: 'presence', from: bob.jid, show: 'dnd' });
  });
  await check('legacy show offline is seen as unavailable, and messages still come', async () => {
    const since = await alice.now();
    await bob.call('presence', 'offline');
    await alice.expect(since, { kind: 'presence', from: bob.jid, type: 'unavailable' });
    await chat(alice, bob, 'invisible-1');
  });
  await check('unavailable on an open stream is seen, and available again', async () => {
    const since = [await alice.now()];
    await bob.call('presence');
    await alice.expect(since[0], { kind: 'presence', from: bob.jid, type: 'available' });
    // Neither is to be mistaken for an earlier one: messages to somebody who is
    // unavailable do not arrive.
    since.push(await alice.now());
    await bob.call('unavailable');
    await alice.expect(since[1], { kind: 'presence', from: bob.jid, type: 'unavailable' });
    since.push(await alice.now());
    await bob.call('presence');
    await alice.expect(since[2], { kind: 'presence', from: bob.jid, type: 'available' });
  });
}

async function chat(from, to, id) {
  const since = await to.now();
  await from.call('message', to.jid, id, `body of <${id}> & 'more' ☂`);
  const got = await to.expect(since, { kind: 'message', id });
  same([got.body, got.type, got.from.split('/')[0]], [`body of <${id}> & 'more' ☂`, 'chat', from.jid], 'message');
}

async function endings(open, alice) {
  const join = async () => {
    const bob = await open(options.bob);
    await bob.login();
    const since = await alice.now();
    await bob.call('presence');
    await alice.expect(since, { kind: 'presence', from: bob.jid, type: 'available' });
    return bob;
  };
  await check('disconnect() is seen at once', async () => {
    const bob = await join();
    const since = await alice.now();
    const begun = performance.now();
    await bob.call('disconnect');
    await alice.expect(since, { kind: 'presence', from: bob.jid, type: 'unavailable' });
    const took = Math.round(performance.now() - begun);
    must(took < AT_ONCE, `it took ${took} ms`);
    await bob.close();
    return `${took} ms`;
  });
  // A connection ends with its page; of a session over BOSH nobody can tell.
  const inactivity = BOSH ? Number(options.inactivity) : 0;
  await check(`a page that is gone is seen after ${inactivity} s and the grace time`, async () => {
    const bob = await join();
    const since = await alice.now();
    const begun = performance.now();
    await bob.page.close({ runBeforeUnload: false });
    const least = inactivity + Number(options.grace);
    const most = least + 10;
    await alice.expect(since, { kind: 'presence', from: bob.jid, type: 'unavailable' }, most * 1000);
    const took = (performance.now() - begun) / 1000;
    must(took > least * 0.9, `after ${took.toFixed(1)} s, before ${least} s`);
    return `${took.toFixed(1)} s`;
  });
}

async function outsider(alice, dave) {
  await check('an outsider sees nothing, and nobody sees the outsider', async () => {
    // Whatever alice's changes caused for dave was sent before this message.
    await chat(alice, dave, 'barrier-1');
    await chat(dave, alice, 'barrier-2');
    const foreign = (await dave.events()).filter((e) => e.kind === 'presence' && e.from !== dave.jid);
    same(foreign, [], 'dave saw');
    const seen = (await alice.events()).filter((e) => e.kind === 'presence' && e.from === dave.jid);
    same(seen, [], 'alice saw');
  });
}

async function main() {
  const site = await servePage();
  const browser = await launch();
  const service = new URL(options.path, options.url).href;
  const open = (name) => Tab.open(browser, site.url, service, user(name, options.password), options.domain);
  try {
    const [alice, bob, dave] = await Promise.all([open(options.alice), open(options.bob), open(options.dave)]);
    await logins(open, alice);
    await checks.need('the others log in', async () => {
      await Promise.all([bob.login(), dave.login()]);
    });
    await rosters(alice, bob, dave);
    await presences(alice, bob, dave);
    await check('messages pass both ways', async () => {
      await chat(alice, bob, 'chat-1');
      await chat(bob, alice, 'chat-2');
    });
    await queries(check, options, alice, bob, dave);
    if (BOSH) await lostAnswers(check, alice, bob);
    await bob.call('disconnect');
    await endings(open, alice);
    await outsider(alice, dave);
    await check('nobody was disconnected in between', async () => {
      for (const tab of [alice, dave]) {
        const last = (await tab.events()).filter(({ kind }) => kind === 'status').at(-1);
        same(last?.name, 'CONNECTED', `last status of ${tab.account.id}`);
      }
    });
    await check('they log out', async () => {
      await Promise.all([alice.call('disconnect'), dave.call('disconnect')]);
    });
    await check('no page had an error', async () => {
      same([alice, bob, dave].flatMap(({ complaints }) => complaints), [], 'errors');
    });
  } finally {
    await browser.close();
    site.close();
  }
}

await checks.main(main);
