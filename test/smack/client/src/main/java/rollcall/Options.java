package rollcall;

import java.net.InetAddress;
import java.net.InetSocketAddress;

import org.jxmpp.jid.DomainBareJid;
import org.jxmpp.jid.EntityBareJid;
import org.jxmpp.jid.impl.JidCreate;
import org.jxmpp.jid.parts.Localpart;
import org.jxmpp.stringprep.XmppStringprepException;

/** The server, given by system properties: port, domain and password. */
record Options(InetSocketAddress server, DomainBareJid domain, String password) {
	static Options read() throws XmppStringprepException {
		return new Options(new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.getInteger("port", 5222)),
			JidCreate.domainBareFrom(System.getProperty("domain", "localhost")), System.getProperty("password", "secret"));
	}

	EntityBareJid address(String name) throws XmppStringprepException {
		return JidCreate.entityBareFrom(Localpart.from(name), domain);
	}
}
