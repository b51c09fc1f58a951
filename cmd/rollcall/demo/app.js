// Puts the page together: the login form, the session, and what it shows.

import { Board, word } from './board.js';
import { Door } from './door.js';
import { byId, h, paintAvatar, setData, setText, time } from './dom.js';
import { People } from './people.js';
import { Session } from './session.js';
import { Talk } from './talk.js';

const LOG_LINES = 200;

class App {
  #config;
  #people = new People();
  #account = null;
  #session = null;
  #door;
  #board;
  #talk;

  constructor(config) {
    this.#config = config;
    this.#door = new Door(config, (account) => this.#enter(account));
    this.#board = new Board((choice) => this.#talk.choose(choice));
    this.#talk = new Talk((jid, text, group) => this.#session.write(jid, text, group), () => this.#show());
    byId('states').addEventListener('change', (event) => {
      this.#session?.setShow(event.target.value);
      this.#show();
    });
    byId('sign-out').addEventListener('click', () => this.#exit(''));
    this.#watchPage();
    this.#door.follow(new URLSearchParams(location.search));
  }

  #watchPage() {
    addEventListener('online', () => this.#session?.networkChanged());
    addEventListener('offline', () => this.#session?.networkChanged());
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) return;
      this.#talk.seen();
      this.#session?.hurry();
    });
    addEventListener('pagehide', () => this.#session?.leave());
    // A page that comes back from the browser's cache has left the server.
    addEventListener('pageshow', (event) => {
      if (event.persisted) location.reload();
    });
  }

  #enter(account) {
    this.#account = account;
    this.#people.clear();
    this.#board.reset();
    this.#talk.reset();
    byId('log-lines').replaceChildren();
    byId('states').querySelector('[value=online]').checked = true;
    const session = new Session(this.#config, account, this.#people);
    this.#session = session;
    const on = (type, handler) => session.addEventListener(type, ({ detail }) => {
      if (session === this.#session) handler(detail);
    });
    on('state', (detail) => this.#state(detail));
    on('people', () => this.#show());
    on('message', (message) => this.#receive(message));
    on('failed', ({ id, with: jid, text }) => this.#talk.fail(id, jid, text));
    on('notice', (text) => log(text));
    this.#address(account);
    this.#introduce(account);
    byId('sign-in').disabled = true;
    session.start();
  }

  // A reload logs the same demo user in again.
  #address(account) {
    const parameters = new URLSearchParams();
    if (account?.listed) parameters.set('user', account.id);
    if (account?.listed && this.#config.transports.length > 1) parameters.set('transport', account.transport.kind);
    const query = parameters.toString();
    history.replaceState(null, '', query === '' ? location.pathname : `?${query}`);
  }

  #introduce(account) {
    setText(byId('me-name'), account.name);
    setText(byId('me-address'), this.#session.jid);
    paintAvatar(byId('me-avatar'), account.name, this.#session.jid);
    const links = this.#config.users.filter(({ id }) => id !== account.id).flatMap(({ id, name }, i) => [
      i > 0 ? ', ' : '',
      h('a', { href: `?user=${encodeURIComponent(id)}`, target: '_blank', rel: 'noopener' }, name || id),
    ]);
    byId('others-list').replaceChildren(...links);
    byId('others').hidden = links.length === 0;
  }

  #exit(complaint) {
    this.#session?.end();
    this.#session = null;
    byId('sign-in').disabled = false;
    byId('room').hidden = true;
    byId('sign-out').hidden = true;
    this.#door.show(true);
    this.#door.complain(complaint);
    connection('idle', 'Not connected');
    document.title = 'rollcall demo';
    this.#address(null);
  }

  #state({ state, text }) {
    const { label } = this.#account.transport;
    connection(state, text, state === 'connected' ? ` · ${label}` : '');
    this.#talk.setConnected(state === 'connected');
    if (state === 'ended') {
      this.#exit(text);
      return;
    }
    if (state === 'connected' || state === 'waiting') {
      this.#door.show(false);
      byId('room').hidden = false;
      byId('sign-out').hidden = false;
    }
    this.#show();
  }

  #receive(message) {
    const name = message.group
      ? this.#people.projects().find(({ jid }) => jid === message.with)?.name ?? message.with
      : this.#people.contact(message.with)?.name ?? message.with;
    const author = message.group ? this.#nameOf(message.from) : name;
    this.#talk.receive({ ...message, author, key: message.from }, name);
  }

  #nameOf(id) {
    return this.#people.contact(`${id}@${this.#config.domain}`)?.name ?? (id || 'The server');
  }

  #show() {
    if (!this.#session) return;
    const live = this.#session.connected;
    const state = live ? this.#session.show : 'offline';
    setData(byId('me-avatar'), 'state', state);
    const strangers = this.#talk.people().filter(({ jid }) => !this.#people.contact(jid) && jid !== this.#session.jid);
    this.#board.show({
      me: { jid: this.#session.jid, name: this.#account.name, state },
      people: this.#people,
      chosen: this.#talk.chosen,
      unread: (jid) => this.#talk.unread(jid),
      strangers,
      live,
    });
    this.#describeTalk();
    const unread = this.#talk.unreadTotal;
    document.title = `${unread > 0 ? `(${unread}) ` : ''}${this.#account.name} · rollcall`;
  }

  #describeTalk() {
    const jid = this.#talk.chosen;
    if (!jid) return;
    const project = this.#people.projects().find((candidate) => candidate.jid === jid);
    if (project) {
      const names = ['you', ...project.members.map(({ name }) => name)].join(', ');
      this.#talk.setState(`Goes to ${names}`, 'project');
    } else if (this.#people.contact(jid)) {
      const state = this.#people.state(jid);
      this.#talk.setState(word(state), state);
    } else {
      this.#talk.setState('Outside your projects', 'unknown');
    }
  }
}

function connection(state, text, way = '') {
  setData(byId('connection'), 'state', state);
  setText(byId('connection-text'), text);
  setText(byId('connection-way'), way);
}

function log(text) {
  const now = new Date();
  const lines = byId('log-lines');
  lines.append(h('li', {}, h('time', { datetime: now.toISOString() }, now.toLocaleTimeString()), h('span', {}, text)));
  if (lines.children.length > LOG_LINES) lines.firstElementChild.remove();
  lines.scrollTop = lines.scrollHeight;
}

async function main() {
  try {
    const response = await fetch('config.json', { cache: 'no-store' });
    if (!response.ok) throw new Error(`status ${response.status}`);
    new App(await response.json());
  } catch (error) {
    byId('login-error').hidden = false;
    byId('login-error').textContent = `The page could not be set up: ${error.message}`;
    throw error;
  }
}

main();
