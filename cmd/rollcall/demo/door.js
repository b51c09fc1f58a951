// The login form.

import { byId, h } from './dom.js';
import { supported } from './transport.js';

const OTHER = '';

export class Door {
  #config;
  #transports;

  // enter is called with { id, name, password, transport }.
  constructor(config, enter) {
    this.#config = config;
    this.#transports = config.transports.filter(({ kind }) => supported(kind));
    const users = config.users.map((user) => h('option', { value: user.id }, user.name || user.id));
    byId('user').append(...users, h('option', { value: OTHER }, 'Somebody else'));
    byId('transport').append(...this.#transports.map((t, i) => h('option', { value: i }, t.label || t.kind)));
    byId('transport-field').hidden = this.#transports.length < 2;
    byId('domain').textContent = `@${config.domain}`;
    byId('user').addEventListener('change', () => this.#adapt());
    byId('login').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit(enter);
    });
    byId('sign-in').disabled = this.#transports.length === 0;
    if (this.#transports.length === 0) this.complain('The server offers no transport that this page knows.');
    this.#adapt();
  }

  // Takes ?user= and ?transport= of the address: logs a demo user in at once.
  follow(parameters) {
    const kind = parameters.get('transport');
    const index = this.#transports.findIndex((transport) => transport.kind === kind);
    if (index >= 0) byId('transport').value = String(index);
    const id = parameters.get('user')?.toLowerCase();
    if (!id) return;
    if (this.#config.users.some((user) => user.id === id)) {
      byId('user').value = id;
      this.#adapt();
      byId('login').requestSubmit(byId('sign-in'));
    } else {
      byId('user').value = OTHER;
      byId('name').value = id;
      this.#adapt();
    }
  }

  show(visible) {
    byId('door').hidden = !visible;
  }

  complain(text) {
    byId('login-error').textContent = text;
    byId('login-error').hidden = text === '';
  }

  #adapt() {
    const other = byId('user').value === OTHER;
    byId('credentials').hidden = !other;
    byId('name').required = other;
    byId('password').required = other;
  }

  #submit(enter) {
    this.complain('');
    const transport = this.#transports[Number(byId('transport').value) || 0];
    const user = this.#config.users.find(({ id }) => id === byId('user').value);
    if (user) {
      enter({ ...user, name: user.name || user.id, transport, listed: true });
      return;
    }
    const id = byId('name').value.trim().toLowerCase().replace(`@${this.#config.domain}`, '');
    enter({ id, name: id, password: byId('password').value, transport, listed: false });
  }
}
