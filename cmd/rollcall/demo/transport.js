// The door between XMPP and the network. A transport carries complete elements
// both ways and knows nothing of what they mean. Every kind has this shape:
//
//   constructor({ url, domain })
//   open()             begins a stream
//   restart()          begins a new stream on the same session, after SASL
//   settled()          says that login is over, and traffic is unpredictable
//   send(element)      queues one element
//   nudge()            says that the network has changed: do not wait for what
//                      may never come
//   close(farewell)    sends a last element and ends the session
//   leave()            ends the session at once, when the page goes away
//
//   onelement(element) called for each top-level element, features included
//   onnotice(text)     something worth a line in the log
//   onstall(stalled)   the session hangs on, but nothing comes through at present
//   onclose(reason)    called once: { condition, text }; condition is '' when
//                      close() or leave() was called

import { Bosh } from './bosh.js';
import { Socket } from './websocket.js';

const KINDS = { bosh: Bosh, websocket: Socket };

export function supported(kind) {
  return Object.hasOwn(KINDS, kind);
}

export function makeTransport({ kind, url }, domain) {
  return new KINDS[kind]({ url: new URL(url, document.baseURI).href, domain });
}
