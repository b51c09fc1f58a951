package rollcall;

import org.jivesoftware.smack.packet.Stanza;
import org.jivesoftware.smack.packet.XmlEnvironment;

/** A stanza that Smack has no words for. It counts as one for stream management. */
final class Raw extends Stanza {
	private final String xml;

	Raw(String xml) {
		this.xml = xml;
	}

	@Override
	public String toXML(XmlEnvironment around) {
		return xml;
	}

	@Override
	public String getElementName() {
		return xml.substring(1).split("[ />]", 2)[0];
	}

	@Override
	public String toString() {
		return xml;
	}
}
