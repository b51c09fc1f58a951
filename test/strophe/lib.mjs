// What the programs in this folder share: their settings, the browser, and checks.

import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

// Settings come from arguments, or else from the environment: --service-host or
// ROLLCALL_SERVICE_HOST. fallback: { name: value }; undefined where there is none.
export function settings(fallback) {
  const options = Object.fromEntries(Object.keys(fallback).map((name) => [name, { type: 'string' }]));
  const { values } = parseArgs({ options });
  const found = {};
  for (const [name, value] of Object.entries(fallback)) {
    const variable = `ROLLCALL_${name.replaceAll('-', '_').toUpperCase()}`;
    found[name] = values[name] ?? process.env[variable] ?? value;
    if (found[name] === undefined) throw new Error(`--${name} or ${variable} is needed`);
  }
  return found;
}

// The settings of programs that have two people of one project talk.
export const PAIR = {
  url: undefined,
  path: '/http-bind',
  domain: 'localhost',
  password: 'secret',
  alice: 'alice',
  bob: 'bob',
  // Seconds for which people still count as present after their session is gone.
  grace: '5',
};

// A user is written name or name:password.
export function user(text, password) {
  const colon = text.indexOf(':');
  return colon < 0 ? { id: text, password } : { id: text.slice(0, colon), password: text.slice(colon + 1) };
}

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    headless: true,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
}

class Stop extends Error {}

// Runs checks one after the other, prints one line for each, and remembers what
// failed.
export class Checks {
  passed = 0;
  failed = 0;
  skipped = 0;
  #skip;

  constructor(skip = '') {
    this.#skip = skip.split(',').filter((word) => word !== '');
  }

  // Says whether the check has passed, or was left out.
  async check(name, run) {
    if (this.#skip.some((word) => name.includes(word))) {
      this.skipped++;
      console.log(`ok - ${name} # SKIP`);
      return true;
    }
    const begun = performance.now();
    try {
      const said = await run();
      this.passed++;
      console.log(`ok - ${name}${typeof said === 'string' ? ` (${said})` : ''}`);
      return true;
    } catch (error) {
      this.failed++;
      const after = Math.round(performance.now() - begun);
      console.log(`not ok - ${name}: after ${after} ms: ${error.message.split('\n').slice(0, 6).join('\n  ')}`);
      return false;
    }
  }

  // A check without which the others make no sense: throws where it fails.
  async need(name, run) {
    if (!(await this.check(name, run))) throw new Stop();
  }

  // Runs a program of checks, prints the count and sets the exit code.
  async main(program) {
    try {
      await program();
    } catch (error) {
      if (!(error instanceof Stop)) {
        this.failed++;
        console.log(`not ok - ${error.stack}`);
      }
    }
    process.exitCode = this.#finish();
  }

  #finish() {
    console.log(`${this.passed} passed, ${this.failed} failed, ${this.skipped} skipped`);
    return this.failed > 0 || this.passed === 0 ? 1 : 0;
  }
}

export function same(actual, expected, what) {
  const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== e) throw new Error(`${what}: got ${a}, want ${e}`);
}

export function must(condition, what) {
  if (!condition) throw new Error(what);
}
