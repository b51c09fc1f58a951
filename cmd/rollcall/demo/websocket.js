// WebSocket (RFC 7395): one element in each message. When the connection breaks, the
// session is over.

import { NS, child, parse, xml } from './xml.js';

const FAREWELL_TIME = 3000;

export class Socket {
  onelement = () => {};
  onnotice = () => {};
  onstall = () => {};
  onclose = () => {};

  #url;
  #domain;
  #socket = null;
  #state = 'new'; // open, closing, closed
  #condition = '';

  constructor({ url, domain }) {
    this.#url = url.replace(/^http/, 'ws');
    this.#domain = domain;
  }

  open() {
    this.#state = 'open';
    this.#socket = new WebSocket(this.#url, 'xmpp');
    this.#socket.onopen = () => this.restart();
    this.#socket.onmessage = ({ data }) => this.#receive(data);
    this.#socket.onclose = () => this.#gone();
  }

  restart() {
    this.#write(xml('open', {
      xmlns: NS.framing, to: this.#domain, version: '1.0', 'xml:lang': navigator.language || 'en',
    }));
  }

  settled() {}

  send(element) {
    if (this.#state !== 'open') return;
    element.attributes.xmlns ??= NS.client;
    this.#write(element);
  }

  // Whether a connection outlives a change of networks cannot be seen from here.
  nudge() {
    if (navigator.onLine) this.#finish('remote-connection-failed', 'The network has changed.');
    else this.onstall(true);
  }

  close(farewell) {
    if (this.#state !== 'open') return;
    this.send(farewell);
    this.#state = 'closing';
    this.#write(xml('close', { xmlns: NS.framing }));
    setTimeout(() => this.#finish('', ''), FAREWELL_TIME);
  }

  leave() {
    if (this.#state !== 'open') return;
    this.#write(xml('close', { xmlns: NS.framing }));
    this.#finish('', '');
  }

  #write(element) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(element.toString());
  }

  #receive(data) {
    if (this.#state === 'closed') return;
    const element = typeof data === 'string' ? parse(data) : null;
    if (element === null) {
      this.#finish('bad-format', 'The server sent something that is not XML.');
    } else if (element.namespaceURI === NS.framing) {
      this.#frame(element);
    } else if (element.namespaceURI === NS.stream && element.localName === 'error') {
      this.#condition = child(element, null, NS.streams)?.localName ?? 'undefined-condition';
    } else {
      this.onelement(element);
    }
  }

  // The stream's header or end (RFC 7395 sections 3.4 and 3.6).
  #frame(element) {
    if (element.localName === 'open') return;
    const elsewhere = element.getAttribute('see-other-uri');
    if (elsewhere !== null) {
      this.#finish('see-other-host', `The server sends its clients to ${elsewhere}.`);
    } else {
      this.#gone();
    }
  }

  #gone() {
    if (this.#state === 'closing') this.#finish('', '');
    else if (this.#condition !== '') this.#finish(this.#condition, 'The server ended the session.');
    else this.#finish('remote-connection-failed', 'The connection is gone.');
  }

  #finish(condition, text) {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#socket?.close();
    this.onclose({ condition, text });
  }
}
