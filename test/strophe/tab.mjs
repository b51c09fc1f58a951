// A browser tab with one strophe.js client in it, on a page of an origin of its
// own: the server is another one, so every request is subject to CORS.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

const DEADLINE = 15_000;

const FILES = {
  '/': ['page/index.html', 'text/html; charset=utf-8'],
  '/client.js': ['page/client.js', 'text/javascript; charset=utf-8'],
  '/strophe.js': ['node_modules/strophe.js/dist/strophe.umd.min.js', 'text/javascript; charset=utf-8'],
};

// Serves the page on a free port of loopback. hold(path) makes the next request for
// a file wait: requested resolves when it has come, release() lets it go on.
export async function servePage() {
  const held = new Map();
  const server = createServer(async (request, response) => {
    const [file, type] = FILES[request.url] ?? [];
    if (!file) {
      response.writeHead(404).end();
      return;
    }
    const content = await readFile(fileURLToPath(new URL(file, import.meta.url)));
    const wait = held.get(request.url);
    if (wait) {
      held.delete(request.url);
      wait.come.resolve();
      await wait.go.promise;
    }
    response.writeHead(200, { 'Content-Type': type, 'Cache-Control': 'no-store' }).end(content);
  });
  const hold = (path) => {
    const [come, go] = [deferred(), deferred()];
    held.set(path, { come, go });
    return { requested: come.promise, release: go.resolve };
  };
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close(), hold };
}

function deferred() {
  const made = {};
  made.promise = new Promise((resolve) => {
    made.resolve = resolve;
  });
  return made;
}

export class Tab {
  #service;
  #routed = null;

  constructor(page, service, account, domain) {
    this.page = page;
    this.#service = service;
    this.account = account;
    this.jid = `${account.id}@${domain}`;
    this.complaints = [];
    page.on('pageerror', (error) => this.complaints.push(error.message));
  }

  static async open(browser, pageURL, service, account, domain) {
    const page = await (await browser.newContext()).newPage();
    const tab = new Tab(page, service, account, domain);
    await page.goto(pageURL);
    return tab;
  }

  login(options = {}) {
    const given = [this.#service, this.jid, options.password ?? this.account.password, options];
    return this.page.evaluate((a) => client.connect(...a), given);
  }

  // What login was, for a page that is loaded again.
  restore() {
    return this.page.evaluate((a) => client.restore(...a), [this.#service, this.jid]);
  }

  // Logs in, now and whenever the connection ends.
  stay() {
    return this.page.evaluate((a) => client.stay(...a), [this.#service, this.jid, this.account.password]);
  }

  // Calls a method of the client in the page.
  call(method, ...given) {
    return this.page.evaluate(([name, a]) => client[name](...a), [method, given]);
  }

  // The number of the next event.
  now() {
    return this.page.evaluate(() => client.events.length);
  }

  events() {
    return this.page.evaluate(() => client.events);
  }

  expect(since, want, timeout = DEADLINE) {
    return this.page.evaluate((a) => client.expect(...a), [since, want, timeout]);
  }

  // From the next request on, hands each to handle, which gets the route, the
  // request's body, and next(), which fetches the answer: { response, text }.
  async intercept(handle) {
    this.#routed = this.#service;
    await this.page.route(this.#service, async (route) => {
      const next = async () => {
        const response = await route.fetch({ timeout: 0 });
        return { response, text: await response.text() };
      };
      try {
        await handle(route, route.request().postData() ?? '', next);
      } catch (error) {
        // The tab was closed while its request waited.
        if (!/closed|disposed|handled/i.test(error.message)) throw error;
      }
    });
  }

  async release() {
    if (this.#routed) await this.page.unroute(this.#routed);
    this.#routed = null;
  }

  close() {
    return this.page.context().close();
  }
}
