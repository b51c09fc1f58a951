/* global Strophe, $msg, $pres, toStanza */
// One strophe.js connection, and everything that it was told, in order. The test
// program calls it from outside the browser.

const LOGIN_TIME = 20_000;
const IQ_TIME = 15_000;
const RECEIVED = 'received';

class Client {
  events = [];
  #waiting = new Set();

  // Resolves with the name of the mechanism when logged in. With keepalive, a page
  // that is loaded again can restore the session.
  connect(service, jid, password, { mechanism, withCredentials, keepalive } = {}) {
    const options = { withCredentials: withCredentials === true, keepalive: keepalive === true };
    if (mechanism) options.mechanisms = [Strophe[mechanism]];
    const connection = this.#open(service, options);
    let used = '';
    connection.rawOutput = (data) => {
      used = /<auth [^>]*mechanism=["']([^"']+)/.exec(data)?.[1] ?? used;
    };
    connection.rawInput = (data) => {
      const offered = [...data.matchAll(/<mechanism>([^<]+)</g)].map((match) => match[1]);
      if (offered.length > 0) this.offered = offered;
    };
    return this.#begin((callback) => connection.connect(jid, password, callback)).then(() => used);
  }

  // Goes on with the session of the page before this one in the same tab.
  restore(service, jid) {
    const connection = this.#open(service, { keepalive: true });
    return this.#begin((callback) => connection.restore(jid, callback));
  }

  // What a page before or after this one in the same tab can know of the session.
  session() {
    return JSON.parse(sessionStorage.getItem('strophe-bosh-session'));
  }

  // Connects, and again whenever the connection ends, as applications do: after half
  // a second, then after twice as long each time, up to 5 s. What it waits for within
  // a session or a login, strophe.js decides.
  stay(service, jid, password) {
    const connection = this.#open(service, {});
    let failures = 0;
    let timer;
    const connect = () => {
      connection.reset();
      connection.connect(jid, password, (status, condition) => {
        const name = this.#status(status, condition);
        if (name === 'CONNECTED') {
          failures = 0;
          this.#listen();
          this.presence();
        } else if (name === 'DISCONNECTED') {
          // Over WebSocket, strophe.js says so twice.
          clearTimeout(timer);
          timer = setTimeout(connect, Math.min(500 * 2 ** failures++, 5000));
        }
      });
    };
    connect();
  }

  #open(service, options) {
    this.connection = new Strophe.Connection(service, options);
    return this.connection;
  }

  // Resolves when there is a session.
  #begin(start) {
    return new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error('the login takes too long')), LOGIN_TIME);
      start((status, condition) => {
        const name = this.#status(status, condition);
        if (name === 'CONNECTED' || name === 'ATTACHED') {
          this.#listen();
          resolve();
        } else if (['AUTHFAIL', 'CONNFAIL', 'ERROR', 'CONNTIMEOUT', 'DISCONNECTED'].includes(name)) {
          reject(new Error(`${name} ${condition ?? ''}`));
        }
      });
    });
  }

  #status(status, condition) {
    const name = Object.keys(Strophe.Status).find((key) => Strophe.Status[key] === status);
    this.#add({ kind: 'status', name, condition: condition ?? '' });
    return name;
  }

  #listen() {
    this.connection.addHandler((stanza) => this.#presence(stanza), null, 'presence');
    this.connection.addHandler((stanza) => this.#message(stanza), null, 'message');
  }

  // The ids of the messages that all pages of this tab have received.
  received() {
    return JSON.parse(sessionStorage.getItem(RECEIVED) ?? '[]');
  }

  presence(show) {
    this.connection.send(show ? $pres().c('show').t(show) : $pres());
  }

  unavailable() {
    this.connection.send($pres({ type: 'unavailable' }));
  }

  message(to, id, body, type = 'chat') {
    this.connection.send($msg({ to, id, type }).c('body').t(body));
  }

  // Resolves with the answer, whether a result or an error.
  iq(stanza) {
    return new Promise((resolve, reject) => {
      const answer = (element) => {
        if (element) resolve(new XMLSerializer().serializeToString(element));
        else reject(new Error('no answer to an iq'));
      };
      // Without a connection strophe.js waits for one, whatever its own timeout says.
      setTimeout(() => answer(null), IQ_TIME);
      this.connection.sendIQ(toStanza(stanza), answer, answer);
    });
  }

  // Resolves when logged out.
  async disconnect() {
    const since = this.events.length;
    this.connection.disconnect();
    await this.expect(since, { kind: 'status', name: 'DISCONNECTED' }, 10_000);
  }

  // Resolves as soon as a request waits for its answer.
  async waiting() {
    while (!this.connection._proto._requests.some(({ sends }) => sends > 0)) {
      await new Promise(requestAnimationFrame);
    }
  }

  // Resolves when nobody has answered twice, or the connection has ended since event
  // number `since`.
  async unreachable(since) {
    const ended = () => this.events.slice(since).some(({ name }) => name === 'DISCONNECTED');
    while (!(this.connection._proto.errors > 1 || ended())) await new Promise(requestAnimationFrame);
  }

  // Cuts the requests that wait, as a network does that goes away for a moment.
  async cut() {
    await this.waiting();
    for (const request of this.connection._proto._requests) request.xhr.abort();
  }

  // Resolves with the first event from number `since` on that has all the
  // properties of `want`.
  expect(since, want, timeout) {
    const found = this.events.slice(since).find((event) => matches(event, want));
    if (found) return found;
    return new Promise((resolve, reject) => {
      const waiter = { want, resolve };
      this.#waiting.add(waiter);
      setTimeout(() => {
        if (!this.#waiting.delete(waiter)) return;
        const seen = JSON.stringify(this.events.slice(since));
        reject(new Error(`waited in vain for ${JSON.stringify(want)}; seen: ${seen}`));
      }, timeout);
    });
  }

  #add(event) {
    this.events.push(event);
    for (const waiter of this.#waiting) {
      if (!matches(event, waiter.want)) continue;
      this.#waiting.delete(waiter);
      waiter.resolve(event);
    }
  }

  // Handlers of strophe.js stay only when they return true.
  #presence(stanza) {
    const project = [...stanza.getElementsByTagName('x')].find((x) => x.namespaceURI === 'urn:rollcall:project:1');
    this.#add({
      kind: 'presence',
      from: Strophe.getBareJidFromJid(stanza.getAttribute('from')),
      resource: Strophe.getResourceFromJid(stanza.getAttribute('from')),
      type: stanza.getAttribute('type') ?? 'available',
      show: stanza.getElementsByTagName('show')[0]?.textContent ?? '',
      status: project?.getAttribute('status') ?? null,
      projects: [...(project?.children ?? [])].map((element) => element.getAttribute('id')),
    });
    return true;
  }

  #message(stanza) {
    // Pages after this one in the same tab know it, too.
    const known = JSON.parse(sessionStorage.getItem(RECEIVED) ?? '[]');
    sessionStorage.setItem(RECEIVED, JSON.stringify([...known, stanza.getAttribute('id')]));
    this.#add({
      kind: 'message',
      from: stanza.getAttribute('from'),
      type: stanza.getAttribute('type') ?? 'normal',
      id: stanza.getAttribute('id'),
      body: stanza.getElementsByTagName('body')[0]?.textContent ?? '',
    });
    return true;
  }
}

function matches(event, want) {
  return Object.entries(want).every(([name, value]) => event[name] === value);
}

window.client = new Client();
