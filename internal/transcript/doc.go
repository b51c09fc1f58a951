// Package transcript plays conversations with an XMPP server from text files,
// over any transport, and compares what arrives by meaning. It has the clients
// for that, which other tests may use too (Dial, Open, Login), and a Recorder
// that writes such a file from a live session.
//
// A script is a text file:
//
//	# A message reaches the other resource
//	# RFC 6121 section 8.5.3.1
//	only tcp
//
//	alice: alice@localhost/web password=secret
//	bob: bob@localhost password=secret mechanism=PLAIN
//
//	alice connects
//	bob connects
//
//	alice sends:
//	    <message to='{bob}' id='m1'><body>hello</body></message>
//	bob receives:
//	    <message from='{alice}' to='{bob}' id='m1'>...</message>
//	alice receives nothing
//
// Lines that begin with # are comments; the first one is the title. "only"
// names the kinds of target that the script is for; without it, all. A line of
// the cast gives an actor a name, an address and a password; without a resource
// the server makes one. The text of a step stands below it, indented.
//
// # Steps
//
//	NAME dials                  connects and sends nothing; what the server sends is for the next steps
//	NAME opens                  opens the stream, with STARTTLS where the target says so, and takes the features
//	NAME opens without tls      the same on a plain connection
//	NAME opens to DOMAIN        with another domain in the header; "opens to nobody" leaves it out
//	NAME authenticates          runs the SASL exchange of the mechanism in the cast on the stream as it is; the stream
//	                            is to be restarted. Below "authenticates:" stand the first element and the others, with
//	                            {mechanism} and {sasl}
//	NAME restarts               opens the stream anew, as after SASL, and takes the features
//	NAME connects               opens, authenticates and binds
//	NAME disconnects            ends the stream politely; nothing else may have arrived before the server's end
//	NAME drops                  cuts the connection; nothing else may have arrived by then. Over BOSH the server
//	                            notices at the end of its inactivity, which must be shorter than Target.Timeout
//	NAME sends:                 sends elements; holes are filled in
//	NAME streams:               sends text as it is: lines are joined without a break, with Go's escapes (\n, \xff)
//	                            (over BOSH in one body, over WebSocket in one message)
//	NAME streams N times:       sends it N times over
//	NAME receives:              the next elements, in this order
//	NAME receives in any order: the next elements, as many as there are here
//	NAME receives nothing       nothing has arrived
//	NAME is closed              the server ends the stream without an error
//	NAME is closed with COND    the server ends the stream with this stream error condition
//	do ACTION                   calls Target.Actions[ACTION]
//
// Everything an actor receives must be expected by its next step that looks; at
// the end of the script each actor that is still there must have received
// nothing more.
//
// "receives nothing" does not wait for time to pass. First every other actor
// that sent something pings the server (XEP-0199) and takes the answer: its
// stanzas have then been worked off. Then the actor itself pings, and the very
// next element must be the answer. It relies on a server that handles the
// stanzas of one session in order and has queued what they cause when it takes
// the next. What other sessions cause by dropping has no such barrier: let
// somebody who sees it receive it first.
//
// # Comparison
//
// Expected XML is in the namespace jabber:client unless it says otherwise; the
// prefix "stream" is declared. In values of attributes and texts of elements,
// {any} stands for any text but none, {name} for what {name} captured before, or
// else captures it; {alice} is the full address of the actor alice. {lbrace} is
// the character itself, for texts that look like a hole. An attribute written
// as '{absent}' must not be there. Among the children, ... says that there may be
// other children, attributes and text, and {any order} that the order of the
// children does not count.
package transcript
