// Goes on in strophe.js with sessions that others opened: POST /prebind, by a back end
// with its key, and by a page with the user's password.
//
//   node prebind.mjs --url http://127.0.0.1:5280 --key KEY
//
// The server has to serve a page at / too.

import { Checks, launch, must, same, settings } from './lib.mjs';
import { servePage } from './tab.mjs';

const options = settings({
  url: undefined,
  key: undefined,
  path: '/http-bind',
  domain: 'localhost',
  user: 'alice',
  password: 'secret',
});

const checks = new Checks();
const check = (name, run) => checks.check(name, run);
const service = new URL(options.path, options.url).href;
const prebindURL = new URL('/prebind', options.url).href;

// What a back end does.
async function prebind(ask, headers = {}) {
  const response = await fetch(prebindURL, {
    method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(ask),
  });
  return { status: response.status, answer: await response.json() };
}

// What the page does with it: attaches, says that the user is there, asks the server
// something, and writes to itself.
function attach([service, { jid, sid, rid }]) {
  return new Promise((resolve, reject) => {
    const seen = { sids: [], rids: [] };
    const connection = new Strophe.Connection(service, { keepalive: true });
    connection.rawOutput = (data) => seen.rids.push(Number(/rid=["'](\d+)/.exec(data)?.[1]));
    const timer = setTimeout(() => reject(new Error(`it takes too long: ${JSON.stringify(seen)}`)), 15_000);
    connection.addHandler((stanza) => {
      seen.presence = stanza.getAttribute('from');
      connection.sendIQ($iq({ type: 'get', to: Strophe.getDomainFromJid(jid) }).c('ping', { xmlns: 'urn:xmpp:ping' }), () => {
        connection.send($msg({ to: jid, type: 'chat', id: 'm1' }).c('body').t('hello'));
      }, reject);
      return false;
    }, null, 'presence');
    connection.addHandler((stanza) => {
      clearTimeout(timer);
      seen.message = stanza.getAttribute('id');
      window.connection = connection;
      resolve(seen);
      return false;
    }, null, 'message');
    connection.attach(jid, sid, rid, (status) => {
      if (status === Strophe.Status.ATTACHED) connection.send($pres());
      if (status === Strophe.Status.DISCONNECTED) reject(new Error('disconnected'));
    });
  });
}

// The page is loaded again: strophe.js goes on with what it kept.
function restore([service, jid]) {
  return new Promise((resolve, reject) => {
    const connection = new Strophe.Connection(service, { keepalive: true });
    setTimeout(() => reject(new Error('it takes too long')), 15_000);
    connection.restore(jid, (status) => {
      if (status === Strophe.Status.DISCONNECTED) reject(new Error('disconnected'));
      if (status !== Strophe.Status.ATTACHED) return;
      connection.sendIQ($iq({ type: 'get', to: Strophe.getDomainFromJid(jid) }).c('ping', { xmlns: 'urn:xmpp:ping' }), () => {
        connection.disconnect();
        resolve('pong');
      }, reject);
    });
  });
}

// What a page says to the server with the user's password.
function ask([url, user, password]) {
  const body = new URLSearchParams({ user, password, resource: 'page' });
  return fetch(url, { method: 'POST', body })
    .then(async (response) => ({ status: response.status, answer: await response.json() }))
    .catch((error) => ({ status: 0, answer: error.message }));
}

await checks.main(async () => {
  const server = await servePage();
  const browser = await launch();
  try {
    const page = await browser.newPage();
    await page.goto(server.url);
    await check('a page goes on with the session that a back end opened', async () => {
      const { status, answer } = await prebind({ user: options.user, resource: 'web' }, { Authorization: `Bearer ${options.key}` });
      same(status, 200, 'the status');
      same(answer.jid, `${options.user}@${options.domain}/web`, 'the address');
      const seen = await page.evaluate(attach, [service, answer]);
      same(seen.rids[0], answer.rid, 'the first rid');
      same(seen.presence, answer.jid, 'the sender of presence');
      same(seen.message, 'm1', 'the message');
      await page.reload();
      same(await page.evaluate(restore, [service, answer.jid]), 'pong', 'the answer after a reload');
    });
    await check('a wrong key opens nothing', async () => {
      const { status, answer } = await prebind({ user: options.user }, { Authorization: `Bearer ${options.key}x` });
      same(status, 401, 'the status');
      must(answer.error && !answer.sid, JSON.stringify(answer));
    });
    await check('a page of the server opens a session with a password', async () => {
      const own = await browser.newPage();
      await own.goto(options.url);
      const { status, answer } = await own.evaluate(ask, [prebindURL, options.user, options.password]);
      same(status, 200, 'the status');
      const seen = await page.evaluate(attach, [service, answer]);
      same(seen.presence, `${options.user}@${options.domain}/page`, 'the sender of presence');
      await page.evaluate(() => window.connection.disconnect());
      await own.close();
    });
    await check('a page of another origin does not', async () => {
      const { status, answer } = await page.evaluate(ask, [prebindURL, options.user, options.password]);
      same(status, 0, `the status of ${JSON.stringify(answer)}`);
    });
  } finally {
    await browser.close();
    server.close();
  }
});
