// Logging in: SCRAM (RFC 5802, RFC 7677) with the browser's own cryptography, and
// PLAIN (RFC 4616) where nothing better is offered.

const HASHES = {
  'SCRAM-SHA-512': { name: 'SHA-512', bits: 512 },
  'SCRAM-SHA-256': { name: 'SHA-256', bits: 256 },
  'SCRAM-SHA-1': { name: 'SHA-1', bits: 160 },
};

// RFC 7677 section 4 asks for 4096 at least; the upper limit keeps a hostile
// server from keeping the browser busy for ever.
const ITERATIONS = { least: 4096, most: 5_000_000 };

const utf8 = new TextEncoder();

export class SaslError extends Error {}

// Picks the strongest of the mechanisms that server and browser have in common.
// Its start() and next() return what to send, and verify() throws a SaslError
// unless the server has proved that it knows the password too.
export function chooseMechanism(offered, username, password) {
  const scram = Object.keys(HASHES).find((name) => offered.includes(name));
  if (scram && globalThis.crypto?.subtle) return new Scram(scram, username, password);
  if (offered.includes('PLAIN')) return new Plain(username, password);
  if (scram) {
    throw new SaslError('Browsers can log in with SCRAM only on https:// pages and on localhost.');
  }
  throw new SaslError(`The server offers no way to log in that this page knows (${offered.join(', ') || 'none'}).`);
}

class Plain {
  name = 'PLAIN';

  constructor(username, password) {
    this.response = `\0${username}\0${password}`;
  }

  start() {
    return base64(utf8.encode(this.response));
  }

  async next() {
    throw new SaslError('The server sent a challenge that PLAIN does not have.');
  }

  async verify() {}
}

class Scram {
  #username;
  #password;
  #first = '';
  #nonce = '';
  #expected = null;

  constructor(name, username, password) {
    this.name = name;
    this.hash = HASHES[name];
    this.#username = username.normalize('NFKC');
    this.#password = password.normalize('NFKC');
  }

  start() {
    this.#nonce = base64(crypto.getRandomValues(new Uint8Array(18)));
    const name = this.#username.replaceAll('=', '=3D').replaceAll(',', '=2C');
    this.#first = `n=${name},r=${this.#nonce}`;
    return base64(utf8.encode(`n,,${this.#first}`));
  }

  async next(challenge) {
    const serverFirst = text(challenge);
    const { r: nonce, s: salt, i: count } = attributes(serverFirst);
    const iterations = Number(count);
    if (!nonce?.startsWith(this.#nonce) || nonce === this.#nonce || !salt) {
      throw new SaslError('The server sent a bad challenge.');
    }
    if (!(iterations >= ITERATIONS.least && iterations <= ITERATIONS.most)) {
      throw new SaslError(`The server asks for ${count} iterations, which is not acceptable.`);
    }
    const salted = await this.#derive(bytes(salt), iterations);
    const clientKey = await this.#hmac(salted, 'Client Key');
    const storedKey = new Uint8Array(await crypto.subtle.digest(this.hash.name, clientKey));
    const withoutProof = `c=biws,r=${nonce}`; // biws is n,, in base64
    const message = `${this.#first},${serverFirst},${withoutProof}`;
    const signature = await this.#hmac(storedKey, message);
    const proof = clientKey.map((byte, i) => byte ^ signature[i]);
    this.#expected = base64(await this.#hmac(await this.#hmac(salted, 'Server Key'), message));
    return base64(utf8.encode(`${withoutProof},p=${base64(proof)}`));
  }

  async verify(additional) {
    if (this.#expected === null || attributes(text(additional)).v !== this.#expected) {
      throw new SaslError('The server could not prove that it knows the password.');
    }
  }

  async #derive(salt, iterations) {
    const key = await crypto.subtle.importKey('raw', utf8.encode(this.#password), 'PBKDF2', false, ['deriveBits']);
    const params = { name: 'PBKDF2', hash: this.hash.name, salt, iterations };
    return new Uint8Array(await crypto.subtle.deriveBits(params, key, this.hash.bits));
  }

  async #hmac(key, message) {
    const algorithm = { name: 'HMAC', hash: this.hash.name };
    const imported = await crypto.subtle.importKey('raw', key, algorithm, false, ['sign']);
    return new Uint8Array(await crypto.subtle.sign('HMAC', imported, utf8.encode(message)));
  }
}

function attributes(message) {
  return Object.fromEntries(message.split(',').map((part) => [part[0], part.slice(2)]));
}

function base64(array) {
  return btoa(String.fromCharCode(...array));
}

function bytes(encoded) {
  try {
    return Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
  } catch {
    throw new SaslError('The server sent bad base64.');
  }
}

function text(encoded) {
  return new TextDecoder().decode(bytes(encoded));
}
