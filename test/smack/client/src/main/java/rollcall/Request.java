package rollcall;

import org.jivesoftware.smack.packet.IQ;

/** A request that nobody knows. */
final class Request extends IQ {
	Request() {
		super("query", "urn:example:unknown");
		setType(Type.get);
	}

	@Override
	protected IQChildElementXmlStringBuilder getIQChildElementBuilder(IQChildElementXmlStringBuilder xml) {
		xml.setEmptyElement();
		return xml;
	}
}
