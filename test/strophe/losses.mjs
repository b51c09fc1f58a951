// Answers that the network loses: strophe.js asks again with the same rid and the
// same body (XEP-0124 section 14.3), and nothing may be lost or come twice.

import { must, same } from './lib.mjs';

const DEADLINE = 15_000;

export async function lostAnswers(check, alice, bob) {
  await check('an answer is lost on the way: what it carried comes, once', async () => {
    const lost = await loseAnswer(bob, (_, text) => text.includes('lost-1'));
    await send(alice, bob, 'lost-1');
    await arrive(bob, 'lost-1');
    must(lost.happened, 'no answer was lost');
    await bob.release();
    await settle(alice, bob, 'lost-1');
  });
  await check('an answer to a message is lost: the message goes on, once', async () => {
    const lost = await loseAnswer(bob, (body) => body.includes('lost-2'));
    await send(bob, alice, 'lost-2');
    await arrive(alice, 'lost-2');
    // The request that carried it may wait at the server; this makes it return.
    await send(alice, bob, 'lost-3');
    await arrive(bob, 'lost-3');
    must(lost.happened, 'no answer was lost');
    await bob.release();
    await settle(bob, alice, 'lost-2');
    await settle(alice, bob, 'lost-3');
  });
  await check('the same request again while the first one waits: the new one gets the answer', async () => {
    let first = null;
    let tell;
    const answer = new Promise((resolve, reject) => {
      tell = resolve;
      setTimeout(() => reject(new Error('the first request was never answered')), DEADLINE).unref();
    });
    await bob.call('waiting');
    await bob.intercept(async (route, _, next) => {
      if (first !== null) {
        await route.continue();
        return;
      }
      // The server goes on with the first request, but the page has given it up.
      // By the time that the server has answered somebody else, it has got it.
      first = next();
      await turn(alice);
      await route.abort('connectionreset');
      tell(first);
    });
    const since = await bob.now();
    // The request that waits now returns with this, and an empty one follows.
    await send(alice, bob, 'repeat-0');
    // The repetition makes the server let go of the first one (XEP-0124 section 14.3).
    const { text } = await answer;
    must(!text.includes('<message'), `the first request got ${text}`);
    await send(alice, bob, 'repeat-1');
    await bob.expect(since, { kind: 'message', id: 'repeat-1' });
    await bob.release();
    await settle(alice, bob, 'repeat-1');
  });
  await check('the network cuts a request that waits: what came meanwhile comes, once', async () => {
    await bob.call('cut');
    await send(alice, bob, 'cut-1');
    await arrive(bob, 'cut-1');
    await settle(alice, bob, 'cut-1');
  });
  await check('losing answers cost nobody the session', async () => {
    for (const tab of [alice, bob]) {
      const states = (await tab.events()).filter(({ kind }) => kind === 'status').map(({ name }) => name);
      same(states.at(-1), 'CONNECTED', `last status of ${tab.account.id}`);
    }
    const gone = (await alice.events()).filter((e) => e.kind === 'presence' && e.from === bob.jid).at(-1);
    same(gone?.type, 'available', 'bob');
  });
}

function send(from, to, id) {
  return from.call('message', to.jid, id, id);
}

function arrive(tab, id) {
  return tab.expect(0, { kind: 'message', id });
}

// A further message has come, so a second copy would have come before it.
async function settle(from, to, id) {
  await send(from, to, `${id}-after`);
  await arrive(to, `${id}-after`);
  const copies = (await to.events()).filter((event) => event.kind === 'message' && event.id === id);
  same(copies.length, 1, `copies of ${id}`);
}

// Has the tab make a request, so that the one that waits returns and the next one
// is seen by the interception.
let turns = 0;
function turn(tab) {
  return tab.call('iq', `<iq xmlns='jabber:client' type='get' id='turn-${++turns}'><ping xmlns='urn:xmpp:ping'/></iq>`);
}

// Loses the first answer that choose(body, answer) picks, after the server has
// sent it.
async function loseAnswer(tab, choose) {
  const lost = { happened: false };
  await tab.intercept(async (route, body, next) => {
    const { response, text } = await next();
    if (!lost.happened && choose(body, text)) {
      lost.happened = true;
      await route.abort('connectionreset');
      return;
    }
    await route.fulfill({ response });
  });
  await turn(tab);
  return lost;
}
