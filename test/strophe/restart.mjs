// Stops and starts a server under two people whose pages connect again by
// themselves, and looks at what they see of each other.
//
//   node restart.mjs --url http://127.0.0.1:5280 --control http://127.0.0.1:9999
//
// alice and bob must share a project. The server of --control obeys POST /terminate
// (ask the process to end, and wait until it has), /kill (without asking) and /start
// (wait until it serves).

import { Checks, launch, must, PAIR, same, settings, user } from './lib.mjs';
import { Tab, servePage } from './tab.mjs';

const options = settings({ ...PAIR, control: undefined });
// strophe.js repeats a failed request at once, after 8 s, and after 27 s.
const RECONNECTED = 60_000;

const checks = new Checks();
const check = (name, run) => checks.check(name, run);

async function control(what) {
  const response = await fetch(new URL(what, options.control), { method: 'POST' });
  must(response.ok, `${what}: ${response.status} ${await response.text()}`);
}

// What a person is shown of the other one, as long as it changes.
async function changes(tab, other, since) {
  const types = (await tab.events())
    .slice(since)
    .filter((e) => e.kind === 'presence' && e.from === other.jid)
    .map(({ type }) => type);
  return types.filter((type, i) => type !== types[i - 1]);
}

async function restart(alice, bob, how, down) {
  const people = [[alice, bob], [bob, alice]];
  const since = new Map();
  for (const [tab] of people) since.set(tab, await tab.now());
  const begun = performance.now();
  await control(how);
  if (down) await Promise.all(people.map(([tab]) => down(tab, since.get(tab))));
  await control('start');
  await Promise.all(people.map(async ([tab, other]) => {
    await tab.expect(since.get(tab), { kind: 'status', name: 'DISCONNECTED' }, RECONNECTED);
    await tab.expect(since.get(tab), { kind: 'status', name: 'CONNECTED' }, RECONNECTED);
    await tab.expect(since.get(tab), { kind: 'presence', from: other.jid, type: 'available' }, RECONNECTED);
  }));
  const took = ((performance.now() - begun) / 1000).toFixed(1);
  // Whoever were taken for gone once more would be shown so after the grace time.
  await new Promise((resolve) => setTimeout(resolve, (Number(options.grace) + 1) * 1000));
  for (const [tab, other] of people) {
    await tab.call('message', other.jid, `after-${how}`, 'here again');
    await other.expect(since.get(other), { kind: 'message', id: `after-${how}` });
  }
  const seen = [];
  for (const [tab, other] of people) {
    const types = await changes(tab, other, since.get(tab));
    const fine = types.join() === 'available' || types.join() === 'unavailable,available';
    must(fine, `${tab.account.id} saw ${other.account.id} ${types}`);
    const connected = (await tab.events()).slice(since.get(tab)).filter(({ name }) => name === 'CONNECTED');
    same(connected.length, 1, `connections of ${tab.account.id}`);
    seen.push(`${tab.account.id} saw ${types.join(', ')}`);
  }
  return `${took} s; ${seen.join('; ')}`;
}

async function main() {
  const site = await servePage();
  const browser = await launch();
  const service = new URL(options.path, options.url).href;
  const open = (name) => Tab.open(browser, site.url, service, user(name, options.password), options.domain);
  try {
    const [alice, bob] = await Promise.all([open(options.alice), open(options.bob)]);
    await checks.need('they log in, and see each other', async () => {
      for (const tab of [alice, bob]) await tab.stay();
      await alice.expect(0, { kind: 'presence', from: bob.jid, type: 'available' });
      await bob.expect(0, { kind: 'presence', from: alice.jid, type: 'available' });
    });
    await check('the server ends politely and is back at once', () => restart(alice, bob, 'terminate'));
    await check('the server is killed and is back when everybody knows', () => restart(alice, bob, 'kill', (tab, since) => tab.call('unreachable', since)));
    await check('no page had an error', async () => {
      same([alice, bob].flatMap(({ complaints }) => complaints), [], 'errors');
    });
  } finally {
    await browser.close();
    site.close();
  }
}

await checks.main(main);
