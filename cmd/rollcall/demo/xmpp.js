// One XMPP session (RFC 6120) on any transport: logs in, binds a resource, and
// from then on sends and receives stanzas.

import { SaslError, chooseMechanism } from './sasl.js';
import { NS, bare, child, childText, xml } from './xml.js';

const IQ_TIME = 15_000;

// What a stanza of type error says (RFC 6120 section 8.3).
export class StanzaError extends Error {
  constructor(condition, text) {
    super(text || condition.replaceAll('-', ' '));
    this.condition = condition;
  }

  static of(stanza) {
    const error = child(stanza, 'error');
    const condition = error && [...error.children].find((c) => c.namespaceURI === NS.stanzas && c.localName !== 'text');
    return new StanzaError(condition?.localName ?? 'undefined-condition', error ? childText(error, 'text', NS.stanzas) : '');
  }
}

// Events, each with its matter in `detail`:
//   ready                  logged in and bound; `jid` is set
//   presence, message      a stanza (Element)
//   roster                 a roster push, its <query/> (Element)
//   stall                  true while nothing comes through, false afterwards
//   notice                 a line for the log
//   closed                 { condition, text, final }: final when trying again
//                          with the same account would fail again
export class Client extends EventTarget {
  jid = null;

  #transport;
  #domain;
  #username;
  #password;
  #resource;
  #mechanism = null;
  #authenticated = false;
  #ready = false;
  #closed = false;
  #iqs = new Map();
  #streamError = null;

  constructor({ transport, domain, username, password, resource }) {
    super();
    this.#transport = transport;
    this.#domain = domain;
    this.#username = username;
    this.#password = password;
    this.#resource = resource;
    transport.onelement = (element) => this.#receive(element);
    transport.onnotice = (text) => this.#emit('notice', text);
    transport.onstall = (stalled) => this.#emit('stall', stalled);
    transport.onclose = (reason) => this.#gone(reason);
  }

  connect() {
    this.#transport.open();
  }

  send(stanza) {
    this.#transport.send(stanza);
  }

  // Asks and resolves with the result, or rejects with a StanzaError.
  iq(type, to, payload) {
    const id = newId();
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new StanzaError('recipient-unavailable', 'Not connected.'));
        return;
      }
      const timer = setTimeout(() => {
        this.#iqs.delete(id);
        reject(new StanzaError('remote-server-timeout', 'No answer came.'));
      }, IQ_TIME);
      this.#iqs.set(id, { to, resolve, reject, timer });
      this.send(xml('iq', { type, id, to }, payload));
    });
  }

  nudge() {
    this.#transport.nudge();
  }

  // Logs out politely: contacts see us leave at once.
  close() {
    this.#transport.close(xml('presence', { type: 'unavailable' }));
  }

  // For a page that goes away. No farewell: should the page be back in a moment,
  // as after a reload, contacts have not seen it leave.
  leave() {
    this.#transport.leave();
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #receive(element) {
    if (this.#closed) return;
    if (element.namespaceURI === NS.stream) {
      if (element.localName === 'features') this.#features(element);
      else if (element.localName === 'error') this.#streamError = element;
    } else if (element.namespaceURI === NS.sasl) {
      this.#sasl(element).catch((error) => this.#fail(error));
    } else if (element.localName === 'iq') {
      this.#iq(element);
    } else if (element.localName === 'presence' || element.localName === 'message') {
      this.#emit(element.localName, element);
    }
  }

  #features(features) {
    if (this.#ready) return;
    if (this.#authenticated) {
      this.#bind(features).catch((error) => this.#fail(error));
      return;
    }
    const mechanisms = child(features, 'mechanisms', NS.sasl);
    const offered = [...(mechanisms?.children ?? [])].map((element) => element.textContent.trim());
    try {
      this.#mechanism = chooseMechanism(offered, this.#username, this.#password);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.send(xml('auth', { xmlns: NS.sasl, mechanism: this.#mechanism.name }, this.#mechanism.start()));
  }

  async #sasl(element) {
    if (this.#mechanism === null || this.#authenticated) return;
    const text = element.textContent.trim();
    switch (element.localName) {
      case 'challenge':
        this.send(xml('response', { xmlns: NS.sasl }, await this.#mechanism.next(text)));
        break;
      case 'success':
        await this.#mechanism.verify(text);
        this.#authenticated = true;
        this.#emit('notice', `Logged in with ${this.#mechanism.name}.`);
        this.#transport.restart();
        break;
      case 'failure': {
        const condition = element.firstElementChild?.localName ?? 'not-authorized';
        const temporary = condition === 'temporary-auth-failure';
        const said = childText(element, 'text');
        const reason = condition === 'not-authorized' ? 'The name or the password is wrong.' : said || condition;
        this.#fail(temporary ? new Error(reason) : new SaslError(reason));
      }
    }
  }

  async #bind(features) {
    if (!child(features, 'bind', NS.bind)) throw new Error('The server does not let this page bind a resource.');
    const bind = xml('bind', { xmlns: NS.bind }, xml('resource', {}, this.#resource));
    const result = await this.iq('set', undefined, bind);
    const bound = child(result, 'bind', NS.bind);
    this.jid = bound && childText(bound, 'jid');
    if (!this.jid) throw new Error('The server gave no address.');
    const session = child(features, 'session', NS.session);
    if (session && !child(session, 'optional')) {
      await this.iq('set', undefined, xml('session', { xmlns: NS.session }));
    }
    this.#ready = true;
    this.#transport.settled();
    this.#emit('ready', this.jid);
  }

  #iq(stanza) {
    const type = stanza.getAttribute('type');
    const id = stanza.getAttribute('id');
    const from = stanza.getAttribute('from') ?? '';
    if (type === 'get' || type === 'set') {
      this.#answer(stanza, type, id, from);
      return;
    }
    const waiting = this.#iqs.get(id);
    if (!waiting || !this.#answers(from, waiting.to)) return;
    this.#iqs.delete(id);
    clearTimeout(waiting.timer);
    if (type === 'result') waiting.resolve(stanza);
    else waiting.reject(StanzaError.of(stanza));
  }

  // An answer must come from where the question went, or anyone could answer.
  #answers(from, to) {
    if (to !== undefined) return from.toLowerCase() === to.toLowerCase();
    return from === '' || this.#isOwn(from) || from === this.#domain;
  }

  #isOwn(from) {
    return from === '' || this.jid === null || from === this.jid || from === bare(this.jid);
  }

  #answer(stanza, type, id, from) {
    const reply = (kind, payload) => this.send(xml('iq', { type: kind, id, to: from || undefined }, payload));
    const roster = child(stanza, 'query', NS.roster);
    if (type === 'get' && child(stanza, 'ping', NS.ping)) {
      reply('result');
      this.#emit('notice', `Answered a ping of ${from || 'the server'}.`);
    } else if (type === 'set' && roster && this.#isOwn(from)) {
      reply('result');
      this.#emit('roster', roster);
    } else {
      reply('error', xml('error', { type: 'cancel' }, xml('service-unavailable', { xmlns: NS.stanzas })));
    }
  }

  // Gives up from our side.
  #fail(error) {
    if (this.#closed) return;
    const final = error instanceof SaslError;
    this.#end({ condition: error.condition ?? 'not-authorized', text: error.message, final });
    this.#transport.leave();
  }

  #gone({ condition, text }) {
    const error = this.#streamError;
    const named = error && [...error.children].find((c) => c.namespaceURI === NS.streams && c.localName !== 'text');
    const what = named?.localName ?? condition;
    const said = error ? childText(error, 'text', NS.streams) : '';
    // The same resource has logged in somewhere else: coming back would throw
    // the other one out, which would come back, and so on.
    const final = what === 'conflict';
    this.#end({ condition: what, text: said || (what ? `${text} (${what})` : text), final });
  }

  #end(reason) {
    if (this.#closed) return;
    this.#closed = true;
    for (const waiting of this.#iqs.values()) {
      clearTimeout(waiting.timer);
      waiting.reject(new StanzaError('recipient-unavailable', 'The connection was lost.'));
    }
    this.#iqs.clear();
    this.#emit('closed', reason);
  }
}

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
