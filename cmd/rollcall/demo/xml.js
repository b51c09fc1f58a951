// Writing and reading XML. Outgoing elements are small trees that escape
// themselves; incoming ones are DOM elements, made by the browser's own parser.

export const NS = {
  bind: 'urn:ietf:params:xml:ns:xmpp-bind',
  bosh: 'http://jabber.org/protocol/httpbind',
  client: 'jabber:client',
  framing: 'urn:ietf:params:xml:ns:xmpp-framing',
  notify: 'urn:rollcall:notify:1',
  ping: 'urn:xmpp:ping',
  project: 'urn:rollcall:project:1',
  roster: 'jabber:iq:roster',
  sasl: 'urn:ietf:params:xml:ns:xmpp-sasl',
  session: 'urn:ietf:params:xml:ns:xmpp-session',
  stanzas: 'urn:ietf:params:xml:ns:xmpp-stanzas',
  stream: 'http://etherx.jabber.org/streams',
  streams: 'urn:ietf:params:xml:ns:xmpp-streams',
  xbosh: 'urn:xmpp:xbosh',
};

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' };

// What XML 1.0 section 2.2 does not allow even when escaped. People paste such
// characters, and the server would have to end the stream because of them.
const FORBIDDEN = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu;

function escape(text) {
  return String(text).replace(FORBIDDEN, '').replace(/[&<>"']/g, (c) => ESCAPES[c]);
}

// An element to be sent. Attributes that are undefined or null are left out, and
// so are such children; strings among the children are text.
class Outgoing {
  constructor(name, attributes, children) {
    this.name = name;
    this.attributes = attributes;
    this.children = children.filter((child) => child !== undefined && child !== null);
  }

  toString() {
    const attributes = Object.entries(this.attributes)
      .filter(([, value]) => value !== undefined && value !== null)
      .map(([name, value]) => ` ${name}='${escape(value)}'`)
      .join('');
    if (this.children.length === 0) return `<${this.name}${attributes}/>`;
    const inner = this.children
      .map((child) => (child instanceof Outgoing ? child.toString() : escape(child)))
      .join('');
    return `<${this.name}${attributes}>${inner}</${this.name}>`;
  }
}

export function xml(name, attributes = {}, ...children) {
  return new Outgoing(name, attributes, children);
}

// Returns the root element of a document, or null if the text is not well-formed.
export function parse(text) {
  const doc = new DOMParser().parseFromString(text, 'text/xml');
  if (doc.getElementsByTagName('parsererror').length > 0) return null;
  return doc.documentElement;
}

// The first child with this name (any name if it is null) and namespace, or null.
// Without a namespace it is that of the parent.
export function child(element, name, namespace = element.namespaceURI) {
  for (const candidate of element.children) {
    if ((name === null || candidate.localName === name) && candidate.namespaceURI === namespace) {
      return candidate;
    }
  }
  return null;
}

export function childText(element, name, namespace = element.namespaceURI) {
  return child(element, name, namespace)?.textContent ?? '';
}

// Addresses (RFC 7622 section 3.1): everything after the first slash is the resource.
export function bare(jid) {
  const slash = jid.indexOf('/');
  return slash < 0 ? jid : jid.slice(0, slash);
}

export function resource(jid) {
  const slash = jid.indexOf('/');
  return slash < 0 ? '' : jid.slice(slash + 1);
}

export function local(jid) {
  const at = bare(jid).indexOf('@');
  return at < 0 ? '' : jid.slice(0, at);
}
