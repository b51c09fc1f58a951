#!/usr/bin/env python3
"""Tests a server with slixmpp's own plugins: an administrator's commands, registration,
vCards, private storage, guests without an account, and a component.

    accounts.py --port 5222 --component-port 5347 ...

boss is an administrator; echo.localhost is a component with the secret 0123456789.
Registration and SASL ANONYMOUS are on.
"""

import asyncio
import logging
import sys

import slixmpp
from slixmpp.exceptions import IqError

from client import Client, Failure, must, same
from run import OPTIONS, Checks, parse

OPTIONS["component-port"] = "5347"
OPTIONS["component"] = "echo.localhost"
OPTIONS["component-secret"] = "0123456789"
ADMIN = "http://jabber.org/protocol/admin#"


class Echo(slixmpp.ComponentXMPP):
    """A component that answers messages and requests for its version."""

    def __init__(self, options, secret=None):
        super().__init__(options.component, secret or options.component_secret, options.host, int(options.component_port))
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0092", pconfig={"software_name": "echo", "version": "1"})
        self.seen = asyncio.Queue()
        self.over = asyncio.Queue()
        self.add_event_handler("session_start", lambda _: self.seen.put_nowait(("session", None, None)))
        self.add_event_handler("stream_error", lambda e: self.over.put_nowait(e["condition"]))
        self.add_event_handler("message", self.answer)
        for kind in ("presence_available", "presence_unavailable"):
            self.add_event_handler(kind, lambda p: self.seen.put_nowait((p["type"], p["from"].full, p["to"].full)))

    def answer(self, message):
        message.reply("echo: " + message["body"]).send()

    async def next(self):
        return await asyncio.wait_for(self.seen.get(), 15)


async def command(client, node, values):
    """Carries out a command with one form, and returns the last answer."""
    plugin = client.plugin["xep_0050"]
    first = await plugin.send_command(client.boundjid.domain, ADMIN + node)
    form = first["command"]["form"]
    form["type"] = "submit"
    form.set_values(values)
    return await plugin.send_command(
        client.boundjid.domain, ADMIN + node, action="complete", payload=form, sessionid=first["command"]["sessionid"])


def plugged(options, name, *plugins, **more):
    client = Client(options, name, **more)
    for plugin in plugins:
        client.register_plugin(plugin)
    return client


async def administration(options, checks):
    boss = await plugged(options, "boss", "xep_0050", "xep_0004").login()

    async def listed():
        items = await boss.plugin["xep_0050"].get_commands(boss.boundjid.domain)
        nodes = {item[1] for item in items["disco_items"]["items"]}
        must(ADMIN + "add-user" in nodes, f"listed are {nodes}")

    async def lives():
        done = await command(boss, "add-user", {
            "accountjid": f"made@{options.domain}", "password": "one", "password-verify": "one"})
        same(done["command"]["status"], "completed", "add-user")
        made = await Client(options, "made", "one").login()
        online = await command(boss, "get-online-users-list", {"max_items": "none"})
        who = online["command"]["form"].get_values()["onlineuserjids"]
        must(f"made@{options.domain}" in who, f"online are {who}")
        since = made.now
        made.show()
        await made.expect(since, {"kind": "presence", "who": made.bare})
        await command(boss, "announce", {"announcement": "tea"})
        await made.expect(since, {"kind": "message", "type": "headline", "body": "tea"})
        await command(boss, "delete-user", {"accountjids": [f"made@{options.domain}"]})
        await made.expect(since, {"kind": "disconnected"})

    await checks.check("commands are listed", listed)
    await checks.check("a user is made, listed, told something, and removed", lives)
    await boss.quit()


async def registration(options, checks):
    async def registers():
        new = plugged(options, "newcomer", "xep_0004", "xep_0066", "xep_0077", password="first")
        outcome = asyncio.get_running_loop().create_future()

        async def register(_):
            iq = new.Iq()
            iq["type"] = "set"
            iq["register"]["username"], iq["register"]["password"] = "newcomer", "first"
            try:
                await iq.send()
                outcome.set_result(None)
            except IqError as error:
                outcome.set_exception(error)

        new.add_event_handler("register", register)
        await new.login()
        await outcome
        await new.plugin["xep_0077"].change_password("second", new.boundjid.domain)
        await new.quit()
        again = await plugged(options, "newcomer", "xep_0004", "xep_0066", "xep_0077", password="second").login()
        since = again.now
        await again.plugin["xep_0077"].cancel_registration()
        await again.expect(since, {"kind": "disconnected"})

    await checks.check("registers, changes the password, and removes the account", registers)


async def documents(options, checks):
    alice = await plugged(options, options.alice, "xep_0049", "xep_0054").login()
    dave = await plugged(options, options.dave, "xep_0054").login()

    async def vcard():
        card = alice.plugin["xep_0054"].make_vcard()
        card["FN"] = "Alice & Co"
        await alice.plugin["xep_0054"].publish_vcard(card)
        seen = await dave.plugin["xep_0054"].get_vcard(alice.bare, cached=False)
        same(seen["vcard_temp"]["FN"], "Alice & Co", "the vCard")

    async def private():
        await alice.ask(None, "<query xmlns='jabber:iq:private'><a xmlns='urn:a'>1 &lt; 2</a></query>", "set")
        kept = await alice.ask(None, "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>")
        same(kept[0].text, "1 < 2", "what was kept")
        await dave.refused(alice.bare, "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>", "forbidden")

    async def guest():
        someone = Client(options, "whoever", mechanism="ANONYMOUS")
        await someone.login()
        must(someone.boundjid.user.startswith("anonymous-"), f"the address is {someone.boundjid}")
        since = dave.now
        dave.show()
        await dave.expect(since, {"kind": "presence", "who": dave.bare})
        someone.say(dave.bare, "from nobody")
        await dave.expect(since, {"kind": "message", "body": "from nobody"})
        await someone.quit()

    await checks.check("vCards", vcard)
    await checks.check("private storage", private)
    await checks.check("a guest without an account", guest)
    await alice.quit()
    await dave.quit()


async def components(options, checks):
    alice = await plugged(options, options.alice, "xep_0092").login()
    echo = Echo(options)

    async def talks():
        await alice.refused(options.component, "<query xmlns='jabber:iq:version'/>", "service-unavailable")
        echo.connect()
        same((await echo.next())[0], "session", "the component")
        since = alice.now
        alice.say(f"anybody@{options.component}", "hello")
        await alice.expect(since, {"kind": "message", "body": "echo: hello", "who": f"anybody@{options.component}"})
        answer = await alice.plugin["xep_0092"].get_version(options.component)
        same(answer["software_version"]["name"], "echo", "the component's version")
        info = await echo.plugin["xep_0030"].get_info(options.domain, ifrom=options.component)
        must("urn:xmpp:ping" in info["disco_info"]["features"], "the component does not see the server's features")
        alice.send_presence(pto=f"room@{options.component}/alice")
        same(await echo.next(), ("available", alice.boundjid.full, f"room@{options.component}/alice"), "presence")
        alice.cut()
        same(await echo.next(), ("unavailable", alice.boundjid.full, f"room@{options.component}/alice"), "presence")

    async def wrong():
        other = Echo(options, "wrong")
        other.connect()
        same(await asyncio.wait_for(other.over.get(), 15), "not-authorized", "the stream's error")
        other.cancel_connection_attempt()

    await checks.check("a component talks to users and to the server", talks)
    await checks.check("a wrong secret is refused", wrong)
    await echo.disconnect()


async def main():
    logging.basicConfig(level=logging.CRITICAL)
    options = parse()
    checks = Checks(options.skip)
    for part in (administration, registration, documents, components):
        try:
            await part(options, checks)
        except Failure as error:
            checks.failed += 1
            print(f"not ok - {part.__name__}: {error}", flush=True)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
