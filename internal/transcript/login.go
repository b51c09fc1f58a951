package transcript

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/beevik/etree"
	"mellium.im/sasl"

	"rollcall/internal/ns"
)

// Account is a user who logs in.
type Account struct {
	// JID is local@domain or local@domain/resource; without a resource the
	// server makes one.
	JID      string
	Password string
	// Mechanism is the SASL mechanism; "" takes the strongest that both sides
	// have.
	Mechanism string
}

// splitJID cuts an address into its parts; nothing is prepared or checked.
func splitJID(jid string) (local, domain, resource string) {
	bare, resource, _ := strings.Cut(jid, "/")
	local, domain, found := strings.Cut(bare, "@")
	if !found {
		local, domain = "", local
	}
	return local, domain, resource
}

// SignIn dials, opens and logs in.
func SignIn(ctx context.Context, t Target, a Account) (c Client, bound string, err error) {
	if c, err = Dial(ctx, t); err != nil {
		return nil, "", err
	}
	features, err := Open(ctx, c, t)
	if err == nil {
		bound, err = Login(ctx, c, t, a, features)
	}
	if err != nil {
		return nil, "", errors.Join(err, c.Drop())
	}
	return c, bound, nil
}

// Open opens the stream to t.Host, turns to TLS where the target says so and
// returns the features for authentication.
func Open(ctx context.Context, c Client, t Target) (*etree.Element, error) {
	if err := c.Open(ctx, t.Host); err != nil {
		return nil, err
	}
	features, err := receiveFeatures(ctx, c)
	if err != nil || t.Kind != KindTCP || t.TLS == nil || t.DirectTLS {
		return features, err
	}
	starter, ok := c.(TLSStarter)
	if !ok || child(features, ns.TLS, "starttls") == nil {
		return nil, fmt.Errorf("transcript: STARTTLS is not offered: %s", Text(features))
	}
	if err := c.Send("<starttls xmlns='" + ns.TLS + "'/>"); err != nil {
		return nil, err
	}
	proceed, err := c.Receive(ctx)
	if err != nil {
		return nil, err
	}
	if !is(proceed, ns.TLS, "proceed") {
		return nil, fmt.Errorf("transcript: STARTTLS refused: %s", Text(proceed))
	}
	if err := starter.StartTLS(ctx); err != nil {
		return nil, err
	}
	if err := c.Open(ctx, t.Host); err != nil {
		return nil, err
	}
	return receiveFeatures(ctx, c)
}

func receiveFeatures(ctx context.Context, c Client) (*etree.Element, error) {
	e, err := c.Receive(ctx)
	if err != nil {
		return nil, err
	}
	if !is(e, ns.Stream, "features") {
		return nil, &UnexpectedError{Wanted: "stream features", Got: e}
	}
	return e, nil
}

// UnexpectedError is an element that arrived in the place of another.
type UnexpectedError struct {
	Wanted string
	Got    *etree.Element
}

// Error tells both.
func (e *UnexpectedError) Error() string {
	return "transcript: " + Text(e.Got) + " instead of " + e.Wanted
}

// Login authenticates on a stream with these features, restarts it and binds a
// resource. It returns the full address.
func Login(ctx context.Context, c Client, t Target, a Account, features *etree.Element) (string, error) {
	features, err := Authenticate(ctx, c, t, a, features)
	if err != nil {
		return "", err
	}
	if child(features, ns.Bind, "bind") == nil {
		return "", fmt.Errorf("transcript: bind is not offered: %s", Text(features))
	}
	return Bind(ctx, c, a)
}

// Authenticate authenticates on a stream with these features, and restarts it. It
// returns the new features.
func Authenticate(ctx context.Context, c Client, t Target, a Account, features *etree.Element) (*etree.Element, error) {
	m, offered, err := mechanism(a, features)
	if err != nil {
		return nil, err
	}
	if err := exchange(ctx, c, a, m, offered, saslForms); err != nil {
		return nil, err
	}
	if err := c.Open(ctx, t.Host); err != nil {
		return nil, err
	}
	return receiveFeatures(ctx, c)
}

// saslForms are what the client says in a SASL exchange; {mechanism} and {sasl} stand
// for what changes.
var saslForms = []string{
	"<auth xmlns='" + ns.SASL + "' mechanism='{mechanism}'>{sasl}</auth>",
	"<response xmlns='" + ns.SASL + "'>{sasl}</response>",
}

// mechanisms are those that clients know.
func mechanisms() map[string]sasl.Mechanism {
	return map[string]sasl.Mechanism{
		sasl.ScramSha256.Name: sasl.ScramSha256, sasl.ScramSha1.Name: sasl.ScramSha1, sasl.Plain.Name: sasl.Plain,
	}
}

// mechanism chooses from what the server offers.
func mechanism(a Account, features *etree.Element) (sasl.Mechanism, []string, error) {
	var offered []string
	if list := child(features, ns.SASL, "mechanisms"); list != nil {
		for _, m := range list.ChildElements() {
			offered = append(offered, strings.TrimSpace(m.Text()))
		}
	}
	for _, name := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"} {
		m := mechanisms()[name]
		if slices.Contains(offered, m.Name) && (a.Mechanism == "" || a.Mechanism == m.Name) {
			return m, offered, nil
		}
	}
	return sasl.Mechanism{}, nil, fmt.Errorf("transcript: no mechanism %q among %v", a.Mechanism, offered)
}

// exchange runs a SASL exchange (RFC 6120 section 6.4). The client says the first of
// the forms first, and then the second.
func exchange(ctx context.Context, c Client, a Account, m sasl.Mechanism, offered, forms []string) error {
	say := func(form string, data []byte) error {
		return c.Send(strings.NewReplacer("{mechanism}", m.Name, "{sasl}", encodeSASL(data)).Replace(form))
	}
	local, _, _ := splitJID(a.JID)
	negotiator := sasl.NewClient(m, sasl.RemoteMechanisms(offered...),
		sasl.Credentials(func() (user, password, identity []byte) {
			return []byte(local), []byte(a.Password), nil
		}))
	more, data, err := negotiator.Step(nil)
	if err != nil {
		return err
	}
	if err := say(forms[0], data); err != nil {
		return err
	}
	for {
		e, err := c.Receive(ctx)
		if err != nil {
			return err
		}
		success := is(e, ns.SASL, "success")
		if !success && !is(e, ns.SASL, "challenge") {
			return &UnexpectedError{Wanted: "a SASL challenge or success", Got: e}
		}
		challenge, err := decodeSASL(e.Text())
		if err != nil {
			return err
		}
		if more {
			if more, data, err = negotiator.Step(challenge); err != nil {
				return fmt.Errorf("transcript: %s: %w", m.Name, err)
			}
		}
		switch {
		case success && more:
			return fmt.Errorf("transcript: %s: success before the server has proved itself", m.Name)
		case success:
			return nil
		}
		if err := say(forms[1], data); err != nil {
			return err
		}
	}
}

// encodeSASL writes data as RFC 6120 section 6.4.2 has it, "=" for none.
func encodeSASL(data []byte) string {
	if len(data) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(data)
}

func decodeSASL(text string) ([]byte, error) {
	if text = strings.TrimSpace(text); text == "=" {
		return nil, nil
	}
	return base64.StdEncoding.DecodeString(text)
}

// Bind binds the account's resource (RFC 6120 section 7) and returns the full address.
func Bind(ctx context.Context, c Client, a Account) (string, error) {
	const id = "bind"
	_, _, resource := splitJID(a.JID)
	request := "<iq type='set' id='" + id + "'><bind xmlns='" + ns.Bind + "'"
	if resource == "" {
		request += "/></iq>"
	} else {
		request += "><resource>" + escape(resource) + "</resource></bind></iq>"
	}
	if err := c.Send(request); err != nil {
		return "", err
	}
	e, err := c.Receive(ctx)
	if err != nil {
		return "", err
	}
	if is(e, ns.Client, "iq") && e.SelectAttrValue("id", "") == id {
		if b := child(e, ns.Bind, "bind"); b != nil && child(b, ns.Bind, "jid") != nil {
			return child(b, ns.Bind, "jid").Text(), nil
		}
	}
	return "", &UnexpectedError{Wanted: "the answer to bind", Got: e}
}
