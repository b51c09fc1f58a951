package rollcall;

import java.io.IOException;
import java.security.KeyManagementException;
import java.security.NoSuchAlgorithmException;

import org.jivesoftware.smack.ConnectionConfiguration.SecurityMode;
import org.jivesoftware.smack.ConnectionListener;
import org.jivesoftware.smack.SmackException;
import org.jivesoftware.smack.XMPPConnection;
import org.jivesoftware.smack.XMPPException;
import org.jivesoftware.smack.chat2.ChatManager;
import org.jivesoftware.smack.filter.MessageTypeFilter;
import org.jivesoftware.smack.filter.MessageWithBodiesFilter;
import org.jivesoftware.smack.packet.Message;
import org.jivesoftware.smack.packet.Presence;
import org.jivesoftware.smack.roster.AbstractPresenceEventListener;
import org.jivesoftware.smack.roster.Roster;
import org.jivesoftware.smack.tcp.XMPPTCPConnection;
import org.jivesoftware.smack.tcp.XMPPTCPConnectionConfiguration;
import org.jivesoftware.smack.util.TLSUtils;
import org.jivesoftware.smackx.delay.packet.DelayInformation;
import org.jxmpp.jid.BareJid;
import org.jxmpp.jid.EntityBareJid;
import org.jxmpp.jid.FullJid;
import org.jxmpp.jid.Jid;

/** Somebody with Smack, as an app on a phone uses it. */
final class Person {
	private static final String RESOURCE = "smack";

	final EntityBareJid address;
	final XMPPTCPConnection connection;
	final Roster roster;
	final Events events;

	/** Connects to a port of this machine; not logged in yet. */
	Person(Options options, String name, int port, String password, String mechanism)
			throws IOException, KeyManagementException, NoSuchAlgorithmException {
		this(options, name, RESOURCE, port, password, mechanism);
	}

	private Person(Options options, String name, String resource, int port, String password, String mechanism)
			throws IOException, KeyManagementException, NoSuchAlgorithmException {
		address = options.address(name);
		events = new Events(name);
		XMPPTCPConnectionConfiguration.Builder builder = XMPPTCPConnectionConfiguration.builder()
			.setXmppDomain(options.domain())
			.setHostAddress(options.server().getAddress())
			.setPort(port)
			.setUsernameAndPassword(name, password)
			.setResource(resource)
			.setSendPresence(false)
			.setSecurityMode(SecurityMode.required);
		if (mechanism != null) {
			builder.addEnabledSaslMechanism(mechanism);
		}
		// The server made its certificate itself.
		TLSUtils.acceptAllCertificates(builder);
		TLSUtils.disableHostnameVerificationForTlsCertificates(builder);
		connection = new XMPPTCPConnection(builder.build());
		connection.setReplyTimeout(Events.DEADLINE.toMillis());
		connection.addConnectionListener(new Life());
		roster = Roster.getInstanceFor(connection);
		roster.setSubscriptionMode(Roster.SubscriptionMode.manual);
		roster.addPresenceEventListener(new Others());
		ChatManager.getInstanceFor(connection)
			.addIncomingListener((from, message, chat) -> hear(from.toString(), message));
		connection.addAsyncStanzaListener(stanza -> events.add("refused", stanza.getFrom().asBareJid().toString(), stanza.getError().getCondition().toString()),
			MessageTypeFilter.ERROR);
		// They are called when a stanza has been written, wherever it is then.
		connection.addStanzaSendingListener(stanza -> events.add("sent", stanza.getTo().asBareJid().toString(), ((Message) stanza).getBody()),
			MessageWithBodiesFilter.INSTANCE);
	}

	Person(Options options, String name) throws IOException, KeyManagementException, NoSuchAlgorithmException {
		this(options, name, options.server().getPort(), options.password(), null);
	}

	/** Somebody's other device. */
	Person(Options options, String name, String resource) throws IOException, KeyManagementException, NoSuchAlgorithmException {
		this(options, name, resource, options.server().getPort(), options.password(), null);
	}

	/** Logs in, or goes on with the session when the connection broke. */
	Person login() throws SmackException, IOException, XMPPException, InterruptedException {
		connection.connect();
		connection.login();
		return this;
	}

	/** Says how the person is. */
	void show(Presence.Mode mode) throws SmackException, InterruptedException {
		connection.sendStanza(connection.getStanzaFactory().buildPresenceStanza().setMode(mode).build());
	}

	private void hear(String from, Message message) {
		if (DelayInformation.from(message) != null) {
			events.add("kept", from, message.getBody());
		}
		events.add("message", from, message.getBody());
	}

	void say(Jid to, String text) throws SmackException, InterruptedException {
		connection.sendStanza(connection.getStanzaFactory().buildMessageStanza().to(to)
			.ofType(Message.Type.chat).setBody(text).build());
	}

	/** Logs out politely. */
	void quit() {
		connection.disconnect();
	}

	/** What happens to the connection. */
	private final class Life implements ConnectionListener {
		@Override
		public void authenticated(XMPPConnection ours, boolean resumed) {
			events.add(resumed ? "resumed" : "authenticated", "", "");
		}

		@Override
		public void connectionClosed() {
			events.add("closed", "", "");
		}

		@Override
		public void connectionClosedOnError(Exception e) {
			events.add("broken", "", "");
		}
	}

	/** What the roster says of others. */
	private final class Others extends AbstractPresenceEventListener {
		@Override
		public void presenceAvailable(FullJid who, Presence presence) {
			events.add("available", who.asBareJid().toString(), presence.getMode().toString());
		}

		@Override
		public void presenceUnavailable(FullJid who, Presence presence) {
			events.add("unavailable", who.asBareJid().toString(), "");
		}

		@Override
		public void presenceError(Jid who, Presence presence) {
			events.add("error", who.asBareJid().toString(), presence.getError().getCondition().toString());
		}

		@Override
		public void presenceSubscribed(BareJid who, Presence presence) {
			events.add("subscribed", who.toString(), "");
		}

		@Override
		public void presenceUnsubscribed(BareJid who, Presence presence) {
			events.add("unsubscribed", who.toString(), "");
		}
	}
}
