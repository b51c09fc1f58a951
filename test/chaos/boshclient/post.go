package boshclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// errRefused is an answer after which no further attempt makes sense.
var errRefused = errors.New("refused")

// insist sends a request until it is answered: the same body every time, as the
// server may have got it (XEP-0124 section 14.3).
func (c *Client) insist(rid int64, body string, rnd *rand.Rand) answer {
	for attempt := 1; ; attempt++ {
		b, got, err := c.attempt(body)
		if c.cfg.Log != nil {
			c.cfg.Log(c.cfg.User, rid, attempt, body, got, err)
		}
		switch {
		case err == nil:
			return answer{rid: rid, body: b}
		case errors.Is(err, errRefused):
			return answer{rid: rid, err: fmt.Errorf("%s, rid %d: %w", c.cfg.User, rid, err)}
		}
		c.retries.Add(1)
		if attempt > 1 {
			again := time.NewTimer(time.Duration(rnd.Int64N(int64(c.cfg.Backoff) + 1)))
			select {
			case <-again.C:
			case <-c.ctx.Done():
			}
			again.Stop()
		}
		if c.ctx.Err() != nil {
			return answer{rid: rid, err: c.ctx.Err()}
		}
	}
}

// maxAnswer is more than any answer has.
const maxAnswer = 16 << 20

// attempt sends a request once.
func (c *Client) attempt(body string) (b *etree.Element, got string, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Timeout)
	defer cancel()
	defer func() {
		if ctx.Err() != nil && c.ctx.Err() == nil {
			c.timeouts.Add(1)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.URL, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	got = string(raw)
	switch {
	case err != nil:
		return nil, got, err
	case resp.StatusCode >= 500:
		return nil, got, errors.New(resp.Status)
	case resp.StatusCode != http.StatusOK:
		return nil, got, fmt.Errorf("%w: %s", errRefused, resp.Status)
	}
	d := etree.NewDocument()
	if err := d.ReadFromString(got); err != nil || d.Root() == nil || d.Root().Tag != "body" {
		return nil, got, fmt.Errorf("%w: not a body: %q (%w)", errRefused, got, err)
	}
	if d.Root().SelectAttrValue("type", "") == "error" {
		return nil, got, errors.New("recoverable error") // XEP-0124 section 17.3
	}
	return d.Root(), got, nil
}
