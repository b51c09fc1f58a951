// The projects and the people in them.

import { byId, h, keyed, paintAvatar, setData, setText } from './dom.js';

const WORDS = { online: 'Online', busy: 'Busy', away: 'Away', offline: 'Offline', invisible: 'Invisible' };

export function word(state) {
  return WORDS[state] ?? state;
}

export class Board {
  #choose;
  #states = new Map(); // what was shown last, to announce what changed

  // choose is called with { jid, name, group } when a row is clicked.
  constructor(choose) {
    this.#choose = choose;
  }

  reset() {
    this.#states.clear();
    byId('projects').replaceChildren();
  }

  // me: { jid, name, state }; chosen: an address; unread: a function of an
  // address; strangers: [{ jid, name }] with a conversation but no project.
  show({ me, people, chosen, unread, strangers, live }) {
    const cards = people.projects().map((project) => ({ ...project, key: project.jid ?? `group:${project.id}` }));
    if (strangers.length > 0) {
      cards.push({ key: 'strangers', name: 'Outside your projects', jid: null, members: strangers, outside: true });
    }
    const board = byId('projects');
    setData(board, 'live', String(live));
    byId('nothing').hidden = !live || cards.length > 0;
    const look = { me, people, chosen, unread };
    keyed(board, cards, (card) => card.key, () => this.#makeCard(), (element, card) => this.#updateCard(element, card, look));
    if (live) this.#announce(people);
  }

  #makeCard() {
    const name = h('h2');
    const count = h('p', { class: 'count' });
    const write = h('button', { type: 'button', class: 'quiet write' }, h('span', {}, 'Message all'), h('b', { class: 'badge', hidden: true }));
    const members = h('ul', { class: 'members' });
    const card = h('section', { class: 'card project' }, h('header', {}, h('div', {}, name, count), write), members);
    card.parts = { name, count, write, members, project: null };
    write.addEventListener('click', () => {
      const { jid, name: title } = card.parts.project;
      this.#choose({ jid, name: title, group: true });
    });
    return card;
  }

  #updateCard(element, card, look) {
    const { name, count, write, members } = element.parts;
    element.parts.project = card;
    setText(name, card.name);
    element.setAttribute('aria-label', card.name);
    const here = card.members.filter((member) => look.people.state(member.jid) !== 'offline').length;
    const mine = look.me.state === 'offline' || look.me.state === 'invisible' ? 0 : 1;
    setText(count, card.outside ? 'They see nothing of you, nor you of them' : `${here + mine} of ${card.members.length + 1} here`);
    write.hidden = card.jid === null;
    write.setAttribute('aria-label', `Message everybody in ${card.name}`);
    write.setAttribute('aria-pressed', String(look.chosen === card.jid));
    if (card.jid) setData(write, 'jid', card.jid);
    showBadge(write.querySelector('.badge'), card.jid ? look.unread(card.jid) : 0);
    const rows = card.outside ? card.members : [{ ...look.me, self: true }, ...card.members];
    keyed(members, rows, (row) => row.jid, (row) => this.#makeRow(row), (li, row) => this.#updateRow(li, row, card, look));
  }

  #makeRow(row) {
    const avatar = h('span', { class: 'avatar', 'aria-hidden': 'true' });
    const mark = h('i', { class: 'mark' });
    const name = h('span', { class: 'name' });
    const note = h('span', { class: 'note' });
    const badge = h('b', { class: 'badge', hidden: true });
    const state = h('span', { class: 'state' });
    const inner = [h('span', { class: 'face' }, avatar, mark), h('span', { class: 'label' }, name, note), badge, state];
    const body = row.self ? h('div', { class: 'row' }, ...inner) : h('button', { type: 'button', class: 'row' }, ...inner);
    const li = h('li', {}, body);
    li.parts = { avatar, mark, name, note, badge, state, body, row };
    if (!row.self) {
      body.addEventListener('click', () => {
        this.#choose({ jid: li.parts.row.jid, name: li.parts.row.name, group: false });
      });
    }
    return li;
  }

  #updateRow(li, row, card, look) {
    const { avatar, mark, name, note, badge, state, body } = li.parts;
    li.parts.row = row;
    const current = row.self ? row.state : card.outside ? 'unknown' : look.people.state(row.jid);
    setData(li, 'jid', row.jid);
    setData(li, 'state', current);
    setData(mark, 'state', current);
    paintAvatar(avatar, row.name, row.jid);
    setText(name, row.self ? `${row.name} (you)` : row.name);
    setText(note, row.self || card.outside ? '' : look.people.note(row.jid));
    setText(state, card.outside ? '' : word(current));
    showBadge(badge, row.self ? 0 : look.unread(row.jid));
    if (!row.self) body.setAttribute('aria-pressed', String(look.chosen === row.jid));
  }

  // Tells people who do not see the page what changed.
  #announce(people) {
    const changes = [];
    for (const { jid, name } of people.contacts()) {
      const state = people.state(jid);
      const before = this.#states.get(jid);
      if (before !== undefined && before !== state) changes.push(`${name} is ${word(state).toLowerCase()}.`);
      this.#states.set(jid, state);
    }
    if (changes.length > 0) byId('announcement').textContent = changes.join(' ');
  }
}

function showBadge(badge, count) {
  badge.hidden = count === 0;
  setText(badge, count > 0 ? String(count) : '');
  if (count > 0) badge.setAttribute('aria-label', `${count} unread`);
}
