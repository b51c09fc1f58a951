package rollcall;

import org.jivesoftware.smack.packet.Nonza;
import org.jivesoftware.smack.packet.XmlEnvironment;

/** XML that Smack has no words for. */
record Raw(String xml) implements Nonza {
	@Override
	public String toXML(XmlEnvironment around) {
		return xml;
	}

	@Override
	public String getElementName() {
		return xml.substring(1).split("[ />]", 2)[0];
	}

	@Override
	public String getNamespace() {
		return "jabber:client";
	}
}
