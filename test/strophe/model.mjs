// The page's own arithmetic, run in the page.

import { same } from './lib.mjs';

export async function model(check, page) {
  await check('of several connections the highest priority counts, then the latest', async () => {
    const got = await page.evaluate(async () => {
      const { People } = await import('./people.js');
      const people = new People();
      people.setRoster([{ jid: 'b@d', name: 'B', subscription: 'both', groups: ['P'] }]);
      const presence = { jid: 'b@d', available: true, note: '', status: null, priority: 0, show: '' };
      const states = [people.state('b@d')];
      const say = (changes) => {
        people.setPresence({ ...presence, ...changes });
        states.push(people.state('b@d'));
      };
      say({ resource: 'web', show: 'dnd' }); // busy
      say({ resource: 'phone', show: 'away', priority: -1 }); // busy: the phone counts less
      say({ resource: 'tablet', show: '' }); // online: as important, but later
      say({ resource: 'tablet', available: false }); // busy again
      say({ resource: 'web', show: 'offline' }); // the phone's away: web is invisible
      say({ resource: 'phone', available: false }); // nothing is left
      // The server counts all connections, also those that we were not told of.
      say({ resource: 'web', show: 'dnd', status: 3 });
      say({ resource: 'web', available: false, status: 1 });
      say({ resource: 'web', available: false, status: 0 });
      return states;
    });
    const want = ['offline', 'busy', 'busy', 'online', 'busy', 'away', 'offline', 'away', 'online', 'offline'];
    same(got, want, 'states');
  });
  await check('members are listed in each of their projects, whatever the server tells', async () => {
    const got = await page.evaluate(async () => {
      const { People } = await import('./people.js');
      const people = new People();
      const list = () => people.projects().map(({ jid, name, members }) => `${name} ${jid ?? '-'}: ${members.map((m) => m.name)}`);
      people.setRoster([
        { jid: 'c@d', name: 'Carol', subscription: 'both', groups: ['Q', 'P'] },
        { jid: 'b@d', name: '', subscription: 'both', groups: ['P'] },
      ]);
      const lists = [list()];
      people.setProjects([{ id: 'p', jid: 'p@s', name: 'P' }, { id: 'e', jid: 'e@s', name: 'Empty' }]);
      lists.push(list());
      people.updateRoster([{ jid: 'c@d', subscription: 'remove', groups: [] }]);
      lists.push(list());
      return lists;
    });
    same(got, [
      ['P -: b,Carol', 'Q -: Carol'],
      ['Empty e@s: ', 'P p@s: b,Carol', 'Q -: Carol'],
      ['Empty e@s: ', 'P p@s: b'],
    ], 'projects');
  });
  await check('what is sent is always well-formed', async () => {
    const got = await page.evaluate(async () => {
      const { xml, parse } = await import('./xml.js');
      const nasty = '<&>"\' ]]> \u0000\u000b\ud800x\uffff\u{1F600}';
      const root = parse(xml('a', { xmlns: 'urn:x', b: nasty, none: undefined }, xml('c', {}, nasty), null).toString());
      return [root?.getAttribute('b'), root?.firstElementChild?.textContent, root?.attributes.length];
    });
    const kept = '<&>"\' ]]> x\u{1F600}';
    same(got, [kept, kept, 2], 'text');
  });
}
