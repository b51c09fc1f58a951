// Conversations with people and projects.

import { byId, h, paintAvatar, setData, setText, time } from './dom.js';

const KEPT = 200; // messages per conversation

export class Talk {
  #conversations = new Map(); // address -> { jid, name, group, entries, unread }
  #current = null;
  #changed;

  // write(jid, text, group) sends and returns an id; changed is called when an
  // unread count or the choice changes.
  constructor(write, changed) {
    this.#changed = changed;
    byId('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit(write);
    });
    byId('text').addEventListener('keydown', (event) => {
      // Enter that ends the composition of a character (isComposing) is no Enter.
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        byId('composer').requestSubmit();
      }
    });
    byId('back').addEventListener('click', () => this.hide());
  }

  reset() {
    this.#conversations.clear();
    this.#current = null;
    byId('text').value = '';
    this.#show();
    document.body.dataset.pane = 'people';
  }

  get chosen() {
    return this.#current?.jid ?? null;
  }

  unread(jid) {
    return this.#conversations.get(jid)?.unread ?? 0;
  }

  get unreadTotal() {
    return [...this.#conversations.values()].reduce((sum, { unread }) => sum + unread, 0);
  }

  people() {
    return [...this.#conversations.values()].filter(({ group }) => !group);
  }

  choose({ jid, name, group }) {
    this.#current = this.#conversation(jid, name, group);
    this.#current.unread = 0;
    document.body.dataset.pane = 'talk';
    this.#show();
    this.#changed();
    // On a narrow screen the keyboard would cover what there is to read.
    byId(matchMedia('(max-width: 50rem)').matches ? 'back' : 'text').focus({ preventScroll: true });
  }

  hide() {
    this.#current = null;
    document.body.dataset.pane = 'people';
    this.#show();
    this.#changed();
  }

  // entry: { id, with, author, key, mine, group, kind, text }; name is that of the
  // conversation.
  receive(entry, name) {
    const conversation = this.#conversation(entry.with, name, entry.group);
    // A project sends our own messages back.
    const echo = entry.mine && entry.id && conversation.entries.find(({ id }) => id === entry.id);
    if (echo) {
      echo.arrived = true;
    } else {
      this.#add(conversation, { ...entry, at: new Date(), arrived: true });
      if (!entry.mine && (conversation !== this.#current || document.hidden)) conversation.unread++;
    }
    if (conversation === this.#current) this.#show();
    this.#changed();
  }

  fail(id, jid, text) {
    const entry = this.#conversations.get(jid)?.entries.find((candidate) => candidate.id === id);
    if (!entry) return;
    entry.failure = text;
    this.#show();
  }

  // Whoever looks at a conversation has read it.
  seen() {
    if (this.#current?.unread > 0) {
      this.#current.unread = 0;
      this.#changed();
    }
  }

  setConnected(connected) {
    byId('send').disabled = !connected;
  }

  setState(text, state) {
    setText(byId('talk-state'), text);
    setData(byId('talk-state'), 'state', state);
  }

  #conversation(jid, name, group) {
    let conversation = this.#conversations.get(jid);
    if (!conversation) {
      conversation = { jid, name, group, entries: [], unread: 0 };
      this.#conversations.set(jid, conversation);
    }
    return conversation;
  }

  #add(conversation, entry) {
    conversation.entries.push(entry);
    if (conversation.entries.length > KEPT) conversation.entries.shift();
  }

  #submit(write) {
    const text = byId('text').value.trim();
    if (text === '' || !this.#current || byId('send').disabled) return;
    const { jid, group } = this.#current;
    const id = write(jid, text, group);
    this.#add(this.#current, { id, mine: true, author: 'You', key: '', kind: 'chat', text, at: new Date(), arrived: !group });
    byId('text').value = '';
    this.#show();
  }

  #show() {
    const current = this.#current;
    byId('talk').dataset.open = String(current !== null);
    byId('empty').hidden = current !== null;
    byId('messages').hidden = current === null;
    byId('composer').hidden = current === null;
    if (!current) {
      byId('messages').replaceChildren();
      return;
    }
    setText(byId('talk-name'), current.name);
    setText(byId('text-label'), `Message to ${current.name}`);
    paintAvatar(byId('talk-avatar'), current.name, current.jid);
    const list = byId('messages');
    const known = new Map([...list.children].map((row) => [row.entry, row]));
    let before = null;
    const rows = current.entries.map((entry) => {
      const follows = before?.key === entry.key && before?.mine === entry.mine && before?.kind === entry.kind;
      const row = known.get(entry) ?? bubble(entry);
      row.dataset.follows = String(follows);
      row.dataset.arrived = String(entry.arrived);
      setText(row.lastElementChild, entry.failure ? `Not delivered: ${entry.failure}` : time(entry.at));
      if (entry.failure) row.dataset.failed = 'true';
      before = entry;
      return row;
    });
    // Only what is new goes in: a live region would read all of it again.
    for (const row of known.values()) if (!rows.includes(row)) row.remove();
    for (const row of rows) if (!row.isConnected) list.append(row);
    list.scrollTop = list.scrollHeight;
  }
}

function bubble(entry) {
  const row = h('div', { class: 'message', 'data-mine': String(entry.mine), 'data-kind': entry.kind },
    h('span', { class: 'author' }, entry.mine ? 'You' : entry.author),
    h('p', { class: 'text' }, entry.text),
    h('time', { datetime: entry.at.toISOString() }, time(entry.at)));
  row.entry = entry;
  return row;
}
