package ado

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// NextMessage waits until the server has a message after last (zero: any), which
// it holds back for about 50 s. It returns nil when there is none. It makes one
// attempt, because polling has a rhythm of its own (protocol §5.3). Errors are
// those of [Client.CreateSession] and [ErrSessionExpired].
func (c *Client) NextMessage(ctx context.Context, session SessionID, last MessageID) (*Envelope, error) {
	query := url.Values{"sessionId": {string(session)}}
	if last != 0 {
		query.Set("lastMessageId", strconv.FormatInt(int64(last), 10))
	}
	var e Envelope
	found, err := c.conn.do(withoutRetries(ctx), call{
		method: http.MethodGet, location: LocationMessages, version: versionPools, route: c.route(nil), query: query,
	}, &e)
	if err != nil {
		return nil, fmt.Errorf("polling for messages: %w", err)
	}
	if !found || e.MessageID == 0 {
		return nil, nil
	}
	return &e, nil
}

// DeleteMessage acknowledges a message that was handed over.
func (c *Client) DeleteMessage(ctx context.Context, session SessionID, message MessageID) error {
	_, err := c.conn.do(ctx, call{
		method: http.MethodDelete, location: LocationMessages, version: versionPools,
		route: c.route(map[string]string{"messageId": strconv.FormatInt(int64(message), 10)}),
		query: url.Values{"sessionId": {string(session)}},
	}, nil)
	if err != nil {
		return fmt.Errorf("deleting message %d: %w", message, err)
	}
	return nil
}
