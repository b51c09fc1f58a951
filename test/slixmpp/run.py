#!/usr/bin/env python3
"""Tests a server with slixmpp over TCP, with STARTTLS and SCRAM.

    run.py --port 5222 [--ca cert.pem] [--grace 1] ...

Every option can be given as an environment variable as well: --service-host is
ROLLCALL_SERVICE_HOST. alice and bob must share a project that dave is not in.
"""

import argparse
import asyncio
import logging
import os
import sys
import time

from client import PROJECT, Client, Failure, must, same

OPTIONS = {
    "host": "127.0.0.1",
    "port": "5222",
    "tls-port": "",  # direct TLS (XEP-0368); not tested without it
    "ca": "",  # the certificate to trust; any is accepted without it
    "domain": "localhost",
    "service-host": "wtmuc.localhost",
    "password": "secret",
    "alice": "alice",
    "bob": "bob",
    "dave": "dave",
    "project": "Apollo",
    "project-id": "p1",
    "grace": "5",  # seconds for which people count as present after a loss
    "skip": "",  # parts of the names of checks to leave out, for other servers
}
AT_ONCE = 3.0


class Checks:
    """Runs checks, prints one line for each, and remembers what failed."""

    def __init__(self, skip):
        self.skip = [word for word in skip.split(",") if word]
        self.passed = self.failed = self.skipped = 0

    async def check(self, name, run):
        """Says whether the check has passed, or was left out."""
        if any(word in name for word in self.skip):
            self.skipped += 1
            print(f"ok - {name} # SKIP", flush=True)
            return True
        try:
            said = await run()
        except Exception as error:  # whatever it is, the check has failed
            self.failed += 1
            print(f"not ok - {name}: {type(error).__name__}: {error}", flush=True)
            return False
        self.passed += 1
        print(f"ok - {name}" + (f" ({said})" if isinstance(said, str) else ""), flush=True)
        return True

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed or not self.passed else 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in OPTIONS.items():
        variable = "ROLLCALL_" + name.replace("-", "_").upper()
        parser.add_argument(f"--{name}", default=os.environ.get(variable, default))
    return parser.parse_args()


class Run:
    """The checks, in the order in which they build upon one another."""

    def __init__(self, options):
        self.options = options
        self.checks = Checks(options.skip)
        self.alice = Client(options, options.alice)
        self.bob = Client(options, options.bob)
        self.dave = Client(options, options.dave)
        self.project = f"{options.project_id}@{options.service_host}"

    async def all(self):
        if not await self.logins():
            return self.checks.finish()  # nothing else makes sense
        await self.rosters()
        await self.presences()
        await self.messages()
        await self.queries()
        await self.endings()
        await self.outsider()
        for client in (self.alice, self.dave):
            await self.checks.check(f"{client.name} logs out", client.quit)
        return self.checks.finish()

    async def logins(self):
        async def starttls():
            await self.alice.login()
            version = self.alice.transport.get_extra_info("ssl_object").version()
            mechanism = self.alice.plugin["feature_mechanisms"].mech.name
            must(mechanism.startswith("SCRAM-SHA-"), f"used {mechanism}")
            return f"{version}, {mechanism}"

        async def mechanism(name):
            client = await Client(self.options, self.options.alice, mechanism=name).login()
            same(client.plugin["feature_mechanisms"].mech.name, name, "mechanism")
            await client.quit()

        async def direct():
            client = await Client(self.options, self.options.alice, direct=True).login()
            await client.quit()

        async def wrong(name):
            client = Client(self.options, name, password="wrong")
            try:
                await client.login()
            except Failure as failure:
                must("failed_all_auth" in str(failure), str(failure))
            else:
                raise Failure("logged in with a wrong password")
            client.abort()

        if not await self.checks.check("STARTTLS and SCRAM login", starttls):
            return False
        for name in ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"):
            await self.checks.check(f"login with {name}", lambda name=name: mechanism(name))
        if self.options.tls_port:
            await self.checks.check("login over direct TLS", direct)
        await self.checks.check("a wrong password is refused", lambda: wrong(self.options.alice))
        await self.checks.check("an unknown user is refused", lambda: wrong("nobody-of-that-name"))
        return await self.checks.check("the others log in", lambda: asyncio.gather(self.bob.login(), self.dave.login()))

    async def rosters(self):
        async def items(client):
            answer = await client.get_roster(timeout=15)
            return dict(answer["roster"]["items"])

        async def member():
            item = (await items(self.alice)).get(self.bob.bare)
            must(item, "bob is not in it")
            same(item["subscription"], "both", "subscription")
            must(self.options.project in item["groups"], f"groups {item['groups']}")
            await items(self.bob)

        async def stranger():
            jids = [str(jid) for jid in await items(self.dave)]
            must(self.alice.bare not in jids and self.bob.bare not in jids, f"dave has {jids}")

        async def readonly():
            item = f"<query xmlns='jabber:iq:roster'><item jid='{self.bob.bare}' name='Bobby'/></query>"
            await self.alice.refused(None, item, "not-allowed", "set")

        await self.checks.check("the roster has the co-member in a group of the project", member)
        await self.checks.check("who shares no project is in no roster", stranger)
        await self.checks.check("project: co-members cannot be changed in the roster", readonly)

    async def presences(self):
        alice, bob = self.alice, self.bob

        async def available():
            a, b = alice.now, bob.now
            self.dave.show()
            alice.show()
            await alice.expect(a, {"kind": "presence", "who": alice.bare, "type": "available"})
            bob.show()
            await alice.expect(a, {"kind": "presence", "who": bob.bare, "type": "available", "show": ""})
            await bob.expect(b, {"kind": "presence", "who": alice.bare, "type": "available", "show": ""})

        async def shown(show):
            since = alice.now
            bob.show(show or None)
            await alice.expect(since, {"kind": "presence", "who": bob.bare, "type": "available", "show": show})

        async def status(show, code):
            since = alice.now
            bob.show(show or None)
            seen = await alice.expect(since, {"kind": "presence", "who": bob.bare, "show": show, "status": code})
            same(seen["projects"], [self.options.project_id], "projects")

        async def unavailable():
            since = alice.now
            bob.send_presence(ptype="unavailable")
            await alice.expect(since, {"kind": "presence", "who": bob.bare, "type": "unavailable"})
            bob.show()
            await alice.expect(since, {"kind": "presence", "who": bob.bare, "type": "available"})

        await self.checks.check("available: both see each other", available)
        for show in ("dnd", "away", "xa", "chat", ""):
            await self.checks.check(f"show {show or 'none'} is seen", lambda show=show: shown(show))
        for show, code in (("dnd", "2"), ("away", "3"), ("", "1")):
            name = f"project: presence says status {code} and the shared project"
            await self.checks.check(name, lambda show=show, code=code: status(show, code))
        await self.checks.check("unavailable on an open stream is seen, and available again", unavailable)
        await self.checks.check("one of two connections ends", self.two_connections)

    async def two_connections(self):
        alice = self.alice
        phone = await Client(self.options, self.options.bob, resource="phone").login()
        since = alice.now
        phone.show("away", priority=-1)
        await alice.expect(since, {"kind": "presence", "who": self.bob.bare, "resource": phone.boundjid.resource, "show": "away"})
        await phone.quit()
        gone = await alice.expect(since, {"kind": "presence", "who": self.bob.bare, "type": "unavailable"})
        same(gone["resource"], phone.boundjid.resource, "the resource that went")
        # A server that does not know projects says nothing of the other connection.
        must(gone["status"] in (None, "1"), f"status {gone['status']}, but one connection is left")

    async def chat(self, sender, receiver, mark):
        since = receiver.now
        sender.say(receiver.bare, mark)
        got = await receiver.expect(since, {"kind": "message", "body": mark})
        same(got["type"], "chat", "type")
        same(got["who"], sender.boundjid.full, "sender")

    async def messages(self):
        async def both():
            await self.chat(self.alice, self.bob, "to <bob> & 'co' ☂")
            await self.chat(self.bob, self.alice, "to <alice> & 'co' ☂")

        async def group():
            a, b = self.alice.now, self.bob.now
            self.alice.say(self.project, "to all", "groupchat")
            want = {"kind": "message", "body": "to all", "type": "groupchat", "who": f"{self.project}/{self.alice.name}"}
            await asyncio.gather(self.alice.expect(a, want), self.bob.expect(b, want))

        await self.checks.check("messages pass both ways", both)
        await self.checks.check("project: a message goes to every member", group)

    async def queries(self):
        alice, dave = self.alice, self.dave
        ask = f"<online xmlns='{PROJECT}'/>"

        async def ping():
            await alice.plugin["xep_0199"].ping(self.options.domain, timeout=15)

        async def online():
            answer = await alice.ask(self.project, ask)
            users = sorted((user.get("jid"), user.get("status")) for user in answer)
            same(users, [(alice.bare, "1"), (self.bob.bare, "1")], "users")
            same(answer.get("total"), "2", "total")

        async def projects():
            answer = await alice.ask(self.options.service_host, f"<projects xmlns='{PROJECT}'/>")
            names = {project.get("id"): project.get("name") for project in answer}
            same(names.get(self.options.project_id), self.options.project, "name")

        async def disco():
            info = await alice.plugin["xep_0030"].get_info(self.options.service_host, timeout=15)
            must(PROJECT in info["disco_info"]["features"], "the service does not have the feature")
            items = await alice.plugin["xep_0030"].get_items(self.project, node="online", timeout=15)
            jids = {str(item[0]) for item in items["disco_items"]["items"]}
            same(jids, {alice.bare, self.bob.bare}, "items")

        async def strangers():
            await dave.refused(self.project, ask, "forbidden")
            await alice.refused(f"no-such-project@{self.options.service_host}", ask, "item-not-found")

        async def unknown():
            await alice.refused(self.options.domain, "<what xmlns='urn:example:unknown'/>", "service-unavailable")

        await self.checks.check("a ping of the server is answered", ping)
        await self.checks.check("an iq that nobody knows gets service-unavailable", unknown)
        await self.checks.check("project: <online/> lists who is there", online)
        await self.checks.check("project: <projects/> lists those of the asker", projects)
        await self.checks.check("project: service discovery tells the same", disco)
        await self.checks.check("project: strangers are refused", strangers)

    async def endings(self):
        alice = self.alice

        async def polite():
            since, begun = alice.now, time.monotonic()
            await self.bob.quit()
            gone = await alice.expect(since, {"kind": "presence", "who": self.bob.bare, "type": "unavailable"})
            took = gone["at"] - begun
            must(took < AT_ONCE, f"it took {took:.1f} s")
            return f"{took * 1000:.0f} ms"

        async def cable():
            bob = await Client(self.options, self.options.bob).login()
            since = alice.now
            bob.show()
            await alice.expect(since, {"kind": "presence", "who": bob.bare, "type": "available"})
            since, begun = alice.now, time.monotonic()
            bob.cut()
            want = {"kind": "presence", "who": bob.bare, "type": "unavailable"}
            gone = await alice.expect(since, want, float(self.options.grace) + 10)
            return f"{gone['at'] - begun:.1f} s"

        await self.checks.check("logging out is seen at once", polite)
        await self.checks.check("a cut cable is seen", cable)

    async def outsider(self):
        async def nothing():
            # Whatever alice's and bob's changes caused for dave was sent before this.
            await self.chat(self.alice, self.dave, "barrier")
            await self.chat(self.dave, self.alice, "barrier")
            presence = lambda client: {e["who"] for e in client.events if e["kind"] == "presence"}
            same(presence(self.dave) - {self.dave.bare}, set(), "dave saw")
            must(self.dave.bare not in presence(self.alice), "alice saw dave")

        await self.checks.check("an outsider sees nothing, and nobody sees the outsider", nothing)


async def main():
    # What slixmpp complains about in passing is told by the checks.
    logging.basicConfig(level=logging.CRITICAL)
    return await Run(parse()).all()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
