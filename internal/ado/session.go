package ado

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
)

// Client speaks with the agent's token: sessions, messages and the locks of
// requests. Its methods may be called concurrently.
type Client struct {
	conn *connection
	pool PoolID
	key  *rsa.PrivateKey
}

// NewClient returns a client for the agent that tokens belong to, a member of
// pool. It does not connect.
func NewClient(address string, pool PoolID, tokens *TokenSource, o Options) (*Client, error) {
	conn, err := newConnection(address, tokens, o)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, pool: pool, key: tokens.credentials.Key}, nil
}

// Connect proves that the token works.
func (c *Client) Connect(ctx context.Context) (ConnectionData, error) {
	data, err := c.conn.connect(ctx)
	return data, unreachable(err)
}

// Session is the right to receive the messages of one agent. It is immutable.
type Session struct {
	ID  SessionID
	key []byte // AES; nil when messages are plain
}

// Open returns the text of a message. It returns [ErrMalformedMessage] when
// there is none. The text holds secrets.
func (s Session) Open(e Envelope) ([]byte, error) { return openEnvelope(s.key, e) }

// CreateSession opens the session of agent; owner names this machine, and the
// capabilities replace those the service knows. It returns [ErrSessionConflict]
// while another session is alive, [ErrRevoked], [ErrAgentNotFound],
// [ErrPoolNotFound], [ErrAccessDenied] or [ErrUnauthorized] (protocol §4.2).
func (c *Client) CreateSession(ctx context.Context, owner string, agent TaskAgent, capabilities map[string]string) (Session, error) {
	var created AgentSession
	_, err := c.conn.do(ctx, call{
		method: http.MethodPost, location: LocationSessions, version: versionPools, route: c.route(nil),
		body: AgentSession{
			SessionID: ZeroGUID, OwnerName: owner, SystemCapabilities: capabilities,
			Agent: TaskAgent{ID: agent.ID, Name: agent.Name, Version: agent.Version, OSDescription: agent.OSDescription},
		},
	}, &created)
	if err == nil && created.SessionID == "" {
		err = errors.New("the answer lacks the session's id")
	}
	if err != nil {
		return Session{}, unreachable(fmt.Errorf("opening a session for agent %d: %w", agent.ID, err))
	}
	key, err := openSessionKey(c.key, created.EncryptionKey)
	if err != nil {
		return Session{ID: created.SessionID}, err
	}
	return Session{ID: created.SessionID, key: key}, nil
}

// DeleteSession ends session; the agent is offline at once.
func (c *Client) DeleteSession(ctx context.Context, session SessionID) error {
	_, err := c.conn.do(ctx, call{
		method: http.MethodDelete, location: LocationSessions, version: versionPools,
		route: c.route(map[string]string{"sessionId": string(session)}),
	}, nil)
	if err != nil {
		return fmt.Errorf("deleting session %s: %w", session, err)
	}
	return nil
}

func (c *Client) route(more map[string]string) map[string]string {
	route := map[string]string{"poolId": strconv.Itoa(int(c.pool))}
	maps.Copy(route, more)
	return route
}
