"""A slixmpp client that remembers, in order, everything that it was told."""

import asyncio
import ssl
import time
import xml.etree.ElementTree as ET

import slixmpp

DEADLINE = 15.0
PROJECT = "urn:rollcall:project:1"


class Failure(Exception):
    """What a check finds wrong."""


def must(condition, what):
    if not condition:
        raise Failure(what)


def same(actual, expected, what):
    must(actual == expected, f"{what}: got {actual!r}, want {expected!r}")


def tls_context(ca):
    """Trusts the given certificate alone; without one, encrypts and trusts anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        context.load_verify_locations(cafile=ca)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Client(slixmpp.ClientXMPP):
    """One connection of one user."""

    def __init__(self, options, name, password=None, mechanism=None, direct=False, resource=None):
        jid = f"{name}@{options.domain}" + (f"/{resource}" if resource else "")
        super().__init__(jid, password or options.password, sasl_mech=mechanism, ssl_context=tls_context(options.ca))
        self.name = name
        self.bare = f"{name}@{options.domain}"
        self.address = (options.host, int(options.tls_port if direct else options.port))
        self.enable_direct_tls = direct
        self.enable_starttls = not direct
        self.enable_plaintext = False
        self.auto_authorize = None
        self.auto_subscribe = False
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0199")
        self.events = []
        self._waiting = []
        self.add_event_handler("presence", self._on_presence)
        self.add_event_handler("message", self._on_message)
        for event in ("session_start", "failed_all_auth", "disconnected", "connection_failed", "stream_error"):
            self.add_event_handler(event, lambda data, event=event: self._add(kind=event))

    async def login(self):
        """Connects and logs in; the presence is left to the caller."""
        self.connect(*self.address)
        outcome = await self.expect(0, lambda e: e["kind"] != "presence")
        if outcome["kind"] != "session_start":
            self.cancel_connection_attempt()
            raise Failure(f"login of {self.name}: {outcome['kind']}")
        return self

    @property
    def now(self):
        """The number of the next event."""
        return len(self.events)

    async def expect(self, since, want, timeout=DEADLINE):
        """The first event from a number on that has the wanted values (or satisfies
        the wanted function), now or later."""
        wanted = want if callable(want) else lambda e: all(e.get(k) == v for k, v in want.items())
        for event in self.events[since:]:
            if wanted(event):
                return event
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, future))
        try:
            return await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError:
            shown = want if not callable(want) else "an event"
            raise Failure(f"{self.name} waited in vain for {shown}; seen: {self.events[since:]}") from None

    async def ask(self, to, payload, kind="get"):
        """Sends an iq with a payload and returns the payload of the answer.
        An error is raised as slixmpp.exceptions.IqError."""
        iq = self.make_iq(ito=to, itype=kind)
        iq.append(ET.fromstring(payload))
        answer = await iq.send(timeout=DEADLINE)
        return next(iter(answer.xml), None)

    async def refused(self, to, payload, condition, kind="get"):
        """Asks and must get this error."""
        try:
            await self.ask(to, payload, kind)
        except slixmpp.exceptions.IqError as error:
            same(error.condition, condition, f"the error of {to}")
            return
        raise Failure(f"{to} answered, want {condition}")

    def show(self, show=None, priority=None):
        """Says how the user is."""
        self.send_presence(pshow=show, ppriority=priority)

    def say(self, to, mark, kind="chat"):
        self.send_message(mto=to, mbody=mark, mtype=kind)

    async def quit(self):
        """Logs out politely, with unavailable presence (RFC 6121 section 4.5.2)."""
        since = self.now
        self.send_presence(ptype="unavailable")
        await self.disconnect()
        await self.expect(since, {"kind": "disconnected"})

    def cut(self):
        """Ends the connection without a word, as a cut cable does."""
        self.transport.abort()

    def _add(self, **event):
        event["at"] = time.monotonic()
        self.events.append(event)
        for waiter in list(self._waiting):
            wanted, future = waiter
            if wanted(event):
                self._waiting.remove(waiter)
                if not future.done():
                    future.set_result(event)

    def _on_presence(self, stanza):
        x = stanza.xml.find(f"{{{PROJECT}}}x")
        show = stanza.xml.find("{jabber:client}show")
        self._add(
            kind="presence",
            who=stanza["from"].bare,
            resource=stanza["from"].resource,
            type=stanza.xml.get("type", "available"),
            show="" if show is None else show.text,
            status=None if x is None else x.get("status"),
            projects=[] if x is None else [p.get("id") for p in x],
        )

    def _on_message(self, stanza):
        self._add(kind="message", who=stanza["from"].full, type=stanza["type"], body=stanza["body"])
