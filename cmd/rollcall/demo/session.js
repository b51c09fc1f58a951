// Keeps one user logged in: connects, loads roster and projects, says how the user
// is, and comes back after a loss.

import { makeTransport } from './transport.js';
import { NS, bare, child, childText, local, resource, xml } from './xml.js';
import { Client, StanzaError, newId } from './xmpp.js';

const DELAYS = [1, 2, 4, 8, 15, 30]; // seconds before each attempt
const SHOWS = { online: undefined, busy: 'dnd', away: 'away', invisible: 'offline' };
const SETTLE = 200; // ms in which several roster pushes count as one

// Events:
//   state    connecting, connected, waiting or ended, in `detail.state`, with
//            a `text` for people
//   people   roster, projects or presence have changed
//   message  { id, with, from, mine, group, kind, text }
//   failed   { id, with, text }: a message of ours came back
//   notice   a line for the log
export class Session extends EventTarget {
  #config;
  #account;
  #people;
  #client = null;
  #resource = `web-${newId().slice(0, 6)}`;
  #show = 'online';
  #attempt = 0;
  #retry = null;
  #refresh = null;
  #ended = false;

  // account: { id, password, transport }
  constructor(config, account, people) {
    super();
    this.#config = config;
    this.#account = account;
    this.#people = people;
  }

  get jid() {
    return `${this.#account.id}@${this.#config.domain}`.toLowerCase();
  }

  get show() {
    return this.#show;
  }

  start() {
    this.#connect();
  }

  setShow(show) {
    this.#show = show;
    this.#sendPresence();
    this.#emit('notice', `You are ${show} now.`);
  }

  // Sends a message to a person or a project and returns its id.
  write(to, text, group) {
    const id = newId();
    this.#client?.send(xml('message', { to, id, type: group ? 'groupchat' : 'chat' }, xml('body', {}, text)));
    return id;
  }

  get connected() {
    return this.#client?.jid != null;
  }

  // Tries at once instead of waiting for the next attempt.
  hurry() {
    if (this.#retry !== null) this.#connect();
  }

  // For a network that has come or gone.
  networkChanged() {
    this.#client?.nudge();
    this.hurry();
  }

  end() {
    this.#ended = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#refresh);
    this.#client?.close();
  }

  leave() {
    this.#client?.leave();
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #connect() {
    clearTimeout(this.#retry);
    this.#retry = null;
    const { transport } = this.#account;
    this.#emit('state', { state: 'connecting', text: 'Connecting' });
    this.#emit('notice', `Connecting to ${transport.url} over ${transport.label}.`);
    const client = new Client({
      transport: makeTransport(transport, this.#config.domain),
      domain: this.#config.domain,
      username: this.#account.id,
      password: this.#account.password,
      resource: this.#resource,
    });
    this.#client = client;
    const on = (type, handler) => client.addEventListener(type, (event) => handler(event.detail));
    on('notice', (text) => this.#emit('notice', text));
    on('ready', (jid) => this.#ready(client, jid));
    on('presence', (stanza) => this.#presence(stanza));
    on('message', (stanza) => this.#message(stanza));
    on('roster', (query) => this.#pushed(query));
    on('stall', (stalled) => this.#stalled(stalled));
    on('closed', (reason) => this.#closed(client, reason));
    client.connect();
  }

  async #ready(client, jid) {
    this.#attempt = 0;
    this.#people.clear();
    this.#emit('notice', `Bound to ${jid}.`);
    // Roster first: presence of people whom we do not know yet means nothing.
    try {
      const result = await client.iq('get', undefined, xml('query', { xmlns: NS.roster }));
      this.#people.setRoster(rosterItems(child(result, 'query', NS.roster)));
    } catch (error) {
      this.#emit('notice', `No roster: ${error.message}`);
    }
    if (client !== this.#client) return;
    this.#sendPresence();
    this.#emit('state', { state: 'connected', text: 'Connected' });
    await this.#loadProjects(client);
  }

  async #loadProjects(client) {
    if (!this.#config.serviceHost) return;
    let projects = null;
    try {
      const result = await client.iq('get', this.#config.serviceHost, xml('projects', { xmlns: NS.project }));
      projects = projectItems(child(result, 'projects', NS.project), this.#config.serviceHost);
      this.#emit('notice', `In ${projects.length} ${projects.length === 1 ? 'project' : 'projects'}.`);
    } catch (error) {
      this.#emit('notice', `No project service (${error.message}); showing the groups of the roster.`);
    }
    if (client !== this.#client) return;
    this.#people.setProjects(projects);
    this.#emit('people');
  }

  #stalled(stalled) {
    if (!this.connected) return;
    const now = stalled ? { state: 'waiting', text: 'Reconnecting' } : { state: 'connected', text: 'Connected' };
    this.#emit('state', now);
    if (!stalled) this.#emit('notice', 'The session goes on.');
  }

  #sendPresence() {
    if (!this.connected) return;
    const show = SHOWS[this.#show];
    this.#client.send(xml('presence', {}, show && xml('show', {}, show), xml('priority', {}, '1')));
  }

  #pushed(query) {
    this.#people.updateRoster(rosterItems(query));
    this.#emit('people');
    clearTimeout(this.#refresh);
    const client = this.#client;
    this.#refresh = setTimeout(() => this.#loadProjects(client), SETTLE);
  }

  #presence(stanza) {
    const type = stanza.getAttribute('type');
    const from = stanza.getAttribute('from') ?? '';
    if ((type !== null && type !== 'unavailable') || from === '') return;
    const status = child(stanza, 'x', NS.project)?.getAttribute('status');
    this.#people.setPresence({
      jid: bare(from),
      resource: resource(from),
      available: type === null,
      show: childText(stanza, 'show').trim(),
      priority: Number.parseInt(childText(stanza, 'priority'), 10) || 0,
      note: childText(stanza, 'status').trim(),
      status: /^[0-3]$/.test(status ?? '') ? Number(status) : null,
    });
    this.#emit('people');
  }

  #message(stanza) {
    const from = stanza.getAttribute('from') ?? '';
    const type = stanza.getAttribute('type');
    const id = stanza.getAttribute('id');
    if (type === 'error') {
      this.#emit('failed', { id, with: bare(from), text: StanzaError.of(stanza).message });
      return;
    }
    const text = childText(stanza, 'body');
    if (text === '') return;
    const group = type === 'groupchat';
    // In a project, the resource says who wrote.
    const author = group ? resource(from) : bare(from);
    const mine = group ? author === local(this.jid) : author === this.jid;
    const kind = child(stanza, 'event', NS.notify) || type === 'headline' ? 'event' : 'chat';
    this.#emit('message', { id, with: bare(from), from: author, mine, group, kind, text });
  }

  #closed(client, { condition, text, final }) {
    if (client !== this.#client) return;
    this.#client = null;
    clearTimeout(this.#refresh);
    if (this.#ended) {
      this.#emit('notice', 'Signed out.');
      return;
    }
    if (final) {
      const why = condition === 'conflict' ? 'This connection was replaced by another one.' : text;
      this.#ended = true;
      this.#emit('notice', why);
      this.#emit('state', { state: 'ended', text: why });
      return;
    }
    const seconds = DELAYS[Math.min(this.#attempt++, DELAYS.length - 1)];
    // Some spread, so that not everybody is back in the same moment.
    const delay = seconds * (0.75 + Math.random() / 2) * 1000;
    this.#emit('notice', `Connection lost: ${text || condition} Next attempt in about ${seconds} s.`);
    this.#emit('state', { state: 'waiting', text: 'Reconnecting' });
    this.#retry = setTimeout(() => this.#connect(), delay);
  }
}

function rosterItems(query) {
  return [...(query?.children ?? [])].filter((item) => item.localName === 'item').map((item) => ({
    jid: item.getAttribute('jid') ?? '',
    name: item.getAttribute('name') ?? '',
    subscription: item.getAttribute('subscription') ?? 'none',
    groups: [...item.children].filter((c) => c.localName === 'group').map((c) => c.textContent),
  })).filter((item) => item.jid !== '');
}

function projectItems(list, serviceHost) {
  return [...(list?.children ?? [])].filter((item) => item.getAttribute('id')).map((item) => ({
    id: item.getAttribute('id'),
    jid: `${item.getAttribute('id')}@${serviceHost}`.toLowerCase(),
    name: item.getAttribute('name') || item.getAttribute('id'),
  }));
}
