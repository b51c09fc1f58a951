// BOSH (XEP-0124, XEP-0206): a stream in both directions made of HTTP requests.
// One request waits at the server for something to come; what we have to say goes
// in a second one, upon which the server answers the first.

import { NS, child, parse, xml } from './xml.js';

const WAIT = 55; // seconds; below the 60 after which proxies give up
const STANZAS_PER_BODY = 20;
const FAREWELL_TIME = 3000;
// Before login the answer to a step is on its way, so that a request that only
// waits for it would be wasted.
const STEP_DELAY = 150;
const RETRY_DELAYS = [0, 500, 1000, 2000, 4000, 8000]; // the last one for all further

export class Bosh {
  onelement = () => {};
  onnotice = () => {};
  onstall = () => {};
  onclose = () => {};

  #url;
  #domain;
  #sid = null;
  #rid = 1 + crypto.getRandomValues(new Uint32Array(1))[0];
  #answered = this.#rid; // the rid whose answer is to be handled next
  #answers = new Map(); // bodies that overtook an earlier one, by rid
  #pending = new Map(); // requests without an answer, by rid
  #queue = [];
  #restarting = false;
  #flushing = false;
  #settled = false;
  #state = 'new'; // open, closing, closed
  #window = 2;
  #wait = WAIT;
  #inactivity = 30;
  #failingSince = null;
  #stalled = false;
  #poll = null;
  #turn = new MessageChannel();

  constructor({ url, domain }) {
    this.#url = url;
    this.#domain = domain;
    this.#turn.port1.onmessage = () => this.#pollNow();
  }

  open() {
    this.#state = 'open';
    this.#request({
      to: this.#domain,
      'xml:lang': navigator.language || 'en',
      ver: '1.11',
      wait: WAIT,
      hold: 1,
      content: 'text/xml; charset=utf-8',
      'xmpp:version': '1.0',
      'xmlns:xmpp': NS.xbosh,
    });
  }

  restart() {
    this.#restarting = true;
    this.#schedule();
  }

  settled() {
    this.#settled = true;
    this.#schedule();
  }

  send(element) {
    if (this.#state !== 'open') return;
    this.#queue.push(element);
    this.#schedule();
  }

  close(farewell) {
    if (this.#state !== 'open') return;
    if (this.#sid === null) {
      this.#finish('', '');
      return;
    }
    this.#state = 'closing';
    this.#request({ sid: this.#sid, type: 'terminate' }, [...this.#queue.splice(0), farewell]);
    setTimeout(() => this.#finish('', ''), FAREWELL_TIME);
  }

  nudge() {
    for (const request of this.#pending.values()) {
      request.attempt = 0;
      if (request.timer === null) {
        request.abort.abort(new Error('the network has changed'));
      } else {
        clearTimeout(request.timer);
        this.#post(request);
      }
    }
  }

  leave() {
    if (this.#state !== 'open') return;
    const rid = this.#rid++;
    if (this.#sid !== null) {
      const body = this.#body(rid, { sid: this.#sid, type: 'terminate' }, this.#queue.splice(0));
      // keepalive lets the request outlive the page; nobody is there for its answer.
      fetch(this.#url, { ...post(body), keepalive: true }).catch(() => {});
    }
    this.#finish('', '');
  }

  // Stanzas that are sent in one go travel in one body.
  #schedule() {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush() {
    if (this.#state !== 'open' || this.#sid === null || this.#pending.size >= this.#window) return;
    if (this.#restarting) {
      this.#restarting = false;
      this.#request({
        sid: this.#sid,
        to: this.#domain,
        'xml:lang': navigator.language || 'en',
        'xmpp:restart': 'true',
        'xmlns:xmpp': NS.xbosh,
      });
    } else if (this.#queue.length > 0) {
      this.#request({ sid: this.#sid }, this.#queue.splice(0, STANZAS_PER_BODY));
      if (this.#queue.length > 0) this.#schedule();
    } else if (this.#pending.size === 0) {
      this.#pollSoon();
    }
  }

  // An empty request goes only after whatever an answer makes us say, which then
  // goes instead. A timer of no length would do, if it were not slow in hidden tabs.
  #pollSoon() {
    clearTimeout(this.#poll);
    if (this.#settled) this.#turn.port2.postMessage(null);
    else this.#poll = setTimeout(() => this.#pollNow(), STEP_DELAY);
  }

  #pollNow() {
    if (this.#state === 'open' && this.#pending.size === 0 && this.#queue.length === 0) {
      this.#request({ sid: this.#sid });
    }
  }

  #body(rid, attributes, payload = []) {
    const own = payload.map((element) => {
      element.attributes.xmlns ??= NS.client;
      return element;
    });
    return xml('body', { xmlns: NS.bosh, rid, ...attributes }, ...own).toString();
  }

  #request(attributes, payload) {
    clearTimeout(this.#poll);
    const rid = this.#rid++;
    const request = { rid, body: this.#body(rid, attributes, payload), attempt: 0, abort: null, timer: null };
    this.#pending.set(rid, request);
    this.#post(request);
  }

  // Posts a request. When the answer is lost, the same body goes again with the
  // same rid (XEP-0124 section 14.3): the server then repeats what it answered.
  async #post(request) {
    request.timer = null;
    request.abort = new AbortController();
    const late = () => request.abort.abort(new Error('no answer came in time'));
    const timeout = setTimeout(late, (this.#wait + 10) * 1000);
    try {
      const response = await fetch(this.#url, { ...post(request.body), signal: request.abort.signal });
      if (response.status >= 400 && response.status < 500) {
        this.#finish('remote-connection-failed', `The server answered ${response.status}.`);
        return;
      }
      const body = response.ok ? parse(await response.text()) : null;
      if (body?.localName !== 'body') throw new Error(`HTTP status ${response.status}`);
      this.#accept(request, body);
    } catch (error) {
      this.#retry(request, error);
    } finally {
      clearTimeout(timeout);
    }
  }

  #retry(request, error) {
    if (this.#state === 'closed') return;
    this.#failingSince ??= performance.now();
    const gone = performance.now() - this.#failingSince > this.#inactivity * 1000;
    // Nothing is lost with a session that has not begun: a new one is simpler.
    if (this.#sid === null || this.#state === 'closing' || gone) {
      this.#finish('remote-connection-failed', `The server cannot be reached: ${error.message}.`);
      return;
    }
    const delay = RETRY_DELAYS[Math.min(request.attempt++, RETRY_DELAYS.length - 1)];
    this.#setStalled(request.attempt > 1);
    this.onnotice(`An answer was lost (${error.message}); asking for it again.`);
    request.timer = setTimeout(() => this.#post(request), delay);
  }

  #setStalled(stalled) {
    if (this.#stalled === stalled) return;
    this.#stalled = stalled;
    this.onstall(stalled);
  }

  // Answers are handled in the order of the requests, whichever comes first.
  #accept(request, body) {
    if (this.#state === 'closed') return;
    if (body.getAttribute('type') === 'error') {
      this.#retry(request, new Error('the server asks to repeat the request'));
      return;
    }
    this.#failingSince = null;
    this.#setStalled(false);
    this.#pending.delete(request.rid);
    if (body.getAttribute('type') === 'terminate') {
      for (const rid of [...this.#answers.keys()].sort((a, b) => a - b)) this.#deliver(this.#answers.get(rid));
      this.#deliver(body);
      this.#ended(body);
      return;
    }
    this.#answers.set(request.rid, body);
    while (this.#answers.has(this.#answered)) {
      const next = this.#answers.get(this.#answered);
      this.#answers.delete(this.#answered++);
      if (this.#sid === null) this.#created(next);
      this.#deliver(next);
    }
    this.#schedule();
  }

  #created(body) {
    const number = (name, otherwise) => {
      const value = Number.parseInt(body.getAttribute(name) ?? '', 10);
      return value > 0 ? value : otherwise;
    };
    this.#sid = body.getAttribute('sid');
    if (!this.#sid) {
      this.#finish('undefined-condition', 'The server gave no session.');
      return;
    }
    this.#wait = number('wait', WAIT);
    this.#window = number('requests', 2);
    this.#inactivity = number('inactivity', 30);
    this.onnotice(`BOSH session opened: requests wait for up to ${this.#wait} s.`);
  }

  #deliver(body) {
    for (const element of body.children) {
      if (this.#state === 'closed') return;
      this.onelement(element);
    }
  }

  #ended(body) {
    if (this.#state === 'closing') {
      this.#finish('', '');
      return;
    }
    const error = child(body, 'error', NS.stream);
    const condition = (error && child(error, null, NS.streams)?.localName) ?? body.getAttribute('condition') ?? '';
    this.#finish(condition || 'undefined-condition', 'The server ended the session.');
  }

  #finish(condition, text) {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearTimeout(this.#poll);
    this.#turn.port1.close();
    for (const request of this.#pending.values()) {
      clearTimeout(request.timer);
      request.abort.abort();
    }
    this.#pending.clear();
    this.onclose({ condition, text });
  }
}

function post(body) {
  return {
    method: 'POST',
    headers: { 'Content-Type': 'text/xml; charset=utf-8' },
    body,
    cache: 'no-store',
    credentials: 'same-origin',
  };
}
