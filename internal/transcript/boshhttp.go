package transcript

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"

	"github.com/beevik/etree"

	"rollcall/internal/ns"
)

// roundTrip posts one body and reads the answer; wrote is called once the request
// is on its way.
func (c *boshClient) roundTrip(text string, wrote func()) (*etree.Element, error) {
	c.target.Trace(true, text)
	ctx := httptrace.WithClientTrace(c.ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { wrote() }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.target.URL, strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "text/xml; charset=utf-8")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxElement+1))
	err = errors.Join(err, response.Body.Close())
	if err != nil {
		return nil, err
	}
	c.target.Trace(false, string(answer))
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("transcript: HTTP %s: %.200s", response.Status, answer)
	}
	if len(answer) > maxElement {
		return nil, fmt.Errorf("%w: a body of more than %d bytes", errBadXML, maxElement)
	}
	return parseBody(string(answer))
}

// parseBody reads a <body/> (XEP-0124 section 6); its children can be taken out.
func parseBody(text string) (*etree.Element, error) {
	s := &splitter{r: strings.NewReader(text)}
	kind, piece, err := s.next()
	if err != nil {
		return nil, fmt.Errorf("transcript: an answer without a body: %w", err)
	}
	if _, _, err := s.next(); kind != elementPiece || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: more than one body: %.200s", errBadXML, text)
	}
	body, err := parseElement(piece, scope{})
	if err != nil {
		return nil, err
	}
	if !is(body, ns.HTTPBind, "body") {
		return nil, fmt.Errorf("%w: <%s> instead of a body", errBadXML, body.FullTag())
	}
	inside := scope{}.with(body)
	for _, t := range body.Child {
		if c, ok := t.(*etree.CharData); ok && strings.TrimSpace(c.Data) != "" {
			return nil, fmt.Errorf("%w: text %q in a body", errBadXML, c.Data)
		}
	}
	for _, child := range body.ChildElements() {
		declareUsed(child, inside)
	}
	return body, nil
}
