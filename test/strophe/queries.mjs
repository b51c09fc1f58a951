// What one can ask a server and the service of its projects.

import { must, same } from './lib.mjs';

const NS = 'urn:rollcall:project:1';

export async function queries(check, options, alice, bob, dave) {
  const host = options['service-host'];
  const project = `${options['project-id']}@${host}`;
  let count = 0;
  const ask = (tab, to, payload, type = 'get') => {
    const target = to ? ` to='${to}'` : '';
    return tab.call('iq', `<iq xmlns='jabber:client' type='${type}' id='q${++count}'${target}>${payload}</iq>`);
  };
  const refused = async (tab, to, payload, condition) => {
    const answer = await ask(tab, to, payload);
    must(answer.includes("type='error'") || answer.includes('type="error"'), `no error: ${answer}`);
    must(answer.includes(`<${condition} `), `want ${condition}: ${answer}`);
  };

  await check('a ping of the server is answered', async () => {
    const answer = await ask(alice, options.domain, "<ping xmlns='urn:xmpp:ping'/>");
    must(answer.includes('type="result"'), answer);
  });
  await check('an iq that nobody knows gets service-unavailable', async () => {
    await refused(alice, options.domain, "<what xmlns='urn:example:unknown'/>", 'service-unavailable');
    await refused(alice, '', "<what xmlns='urn:example:unknown'/>", 'service-unavailable');
  });
  await check('project: <online/> lists who is there', async () => {
    const answer = await ask(alice, project, `<online xmlns='${NS}'/>`);
    const users = [...answer.matchAll(/<user\b[^>]*>/g)].map(([tag]) => ({
      jid: /jid="([^"]*)"/.exec(tag)?.[1],
      status: /status="([^"]*)"/.exec(tag)?.[1],
    })).sort((a, b) => a.jid.localeCompare(b.jid));
    same(users, [{ jid: alice.jid, status: '1' }, { jid: bob.jid, status: '1' }], 'users');
    same(/total="(\d+)"/.exec(answer)?.[1], '2', 'total');
  });
  await check('project: <projects/> lists those of the asker', async () => {
    const list = async (tab) => [...(await ask(tab, host, `<projects xmlns='${NS}'/>`)).matchAll(/<project\b[^>]*>/g)].map(([tag]) => tag);
    const mine = await list(alice);
    const tag = mine.find((candidate) => candidate.includes(`id="${options['project-id']}"`));
    must(tag?.includes(`name="${options.project}"`), `alice is told ${mine}`);
    same((await list(dave)).filter((candidate) => candidate.includes(`id="${options['project-id']}"`)), [], 'dave is told');
  });
  await check('project: strangers are refused', async () => {
    await refused(dave, project, `<online xmlns='${NS}'/>`, 'forbidden');
    await refused(alice, `no-such-project@${host}`, `<online xmlns='${NS}'/>`, 'item-not-found');
  });
  await check('project: a message goes to every member once, and comes back', async () => {
    const [a, b] = [await alice.now(), await bob.now()];
    await alice.call('message', project, 'group-1', 'to all', 'groupchat');
    const want = { kind: 'message', type: 'groupchat', body: 'to all', from: `${project}/${alice.account.id}` };
    await Promise.all([alice.expect(a, want), bob.expect(b, want)]);
    await bob.call('message', alice.jid, 'group-2', 'after it');
    await alice.expect(a, { kind: 'message', id: 'group-2' });
    await alice.call('message', bob.jid, 'group-3', 'after it');
    await bob.expect(b, { kind: 'message', id: 'group-3' });
    for (const [tab, since] of [[alice, a], [bob, b]]) {
      const copies = (await tab.events()).slice(since).filter(({ body }) => body === 'to all');
      same(copies.length, 1, `copies of ${tab.account.id}`);
    }
  });
}
