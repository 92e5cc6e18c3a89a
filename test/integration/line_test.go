package integration_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
)

// line is a TCP proxy before a server, which the test cuts, closes and silences.
// Its methods may be called concurrently.
type line struct {
	addr   string // host:port of the proxy
	server string
	hungUp chan struct{} // gets a value when a client closes a connection that was silent

	mu       sync.Mutex
	listener net.Listener // nil while it is closed
	muted    bool
	open     map[*call]struct{}
	all      sync.WaitGroup
}

// call is one connection through a line.
type call struct {
	client, server net.Conn
	mu             sync.Mutex
	muted          bool
}

// needLine makes a line to host:port or tcp://host:port that ends with the test.
func needLine(t *testing.T, server string) *line {
	t.Helper()
	l := &line{server: strings.TrimPrefix(server, "tcp://"), addr: "127.0.0.1:0", hungUp: make(chan struct{}, 100), open: make(map[*call]struct{})}
	if err := l.listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.cut()
		l.all.Wait()
	})
	return l
}

// listen accepts connections, again after [line.cut] at the same address.
func (l *line) listen(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.addr)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener, l.addr = listener, listener.Addr().String()
	l.all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			l.all.Go(func() { l.forward(ctx, client) })
		}
	})
	return nil
}

func (l *line) forward(ctx context.Context, client net.Conn) {
	server, err := new(net.Dialer).DialContext(ctx, "tcp", l.server)
	if err != nil {
		_ = client.Close()
		return
	}
	c := &call{client: client, server: server}
	l.mu.Lock()
	if l.listener == nil { // cut in the meantime
		l.mu.Unlock()
		c.close()
		return
	}
	c.muted = l.muted
	l.open[c] = struct{}{}
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		c.copy(server, client)
		if c.isMuted() {
			// As when a network vanishes: the server never hears of it.
			l.hungUp <- struct{}{}
			return
		}
		c.close()
	})
	both.Go(func() {
		c.copy(client, server)
		c.close()
	})
	both.Wait()
}

// copy forwards until the connection is silenced, and swallows what comes then.
func (c *call) copy(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !c.isMuted() {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *call) isMuted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.muted
}

func (c *call) close() { _ = errors.Join(c.client.Close(), c.server.Close()) } // by whoever is first

// cut breaks all connections and refuses new ones until [line.listen].
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		_ = l.listener.Close() // the port is free when it returns
	}
	l.listener = nil
	for c := range l.open {
		c.close()
	}
	clear(l.open)
}

// silence stops forwarding, on connections that are open and on those to come,
// and closes none of them.
func (l *line) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.muted = true
	for c := range l.open {
		c.mu.Lock()
		c.muted = true
		c.mu.Unlock()
	}
}

// restore lets connections to come through. Silenced ones stay silent.
func (l *line) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.muted = false
}
