package libpod

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
)

// Size is that of a terminal, in characters.
type Size struct{ Rows, Columns uint16 }

// Streams are what a process in a container is connected to.
type Streams struct {
	In       io.Reader   // nil is nothing
	Out, Err io.Writer   // with a terminal, everything goes to Out; nil drops it
	TTY      bool        // the process has a terminal
	Resize   <-chan Size // sizes of the terminal, the first one too; nil is none
}

// Attachment is a connection to a process in a container.
type Attachment struct {
	conn connection
	tty  bool
	what string
}

// connection is what a hijacked request leaves.
type connection interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// hijack sends r and takes over its connection. The answer is waited for like any
// other; the connection does not end with ctx any more.
func (c *Client) hijack(ctx context.Context, r request, tty bool) (*Attachment, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, fmt.Errorf("podman did not answer within %s", requestTimeout))
	defer cancel()
	header := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"tcp"}}
	maps.Copy(header, r.header)
	r.header, r.bound = header, -1
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	conn, ok := resp.Body.(connection)
	if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
		_ = resp.Body.Close() // there is nothing to read
		return nil, fmt.Errorf("%s: podman answered %d instead of handing its connection over", r.what, resp.StatusCode)
	}
	return &Attachment{conn: conn, tty: tty, what: r.what}, nil
}

// Attach connects to the process of a container, before it is started. The
// caller ends it with [Attachment.Exchange] or [Attachment.Close].
func (c *Client) Attach(ctx context.Context, id, name string, stdin, tty bool) (*Attachment, error) {
	query := url.Values{"stream": {"true"}, "stdin": {strconv.FormatBool(stdin)}, "stdout": {"true"}, "stderr": {"true"}}
	return c.hijack(ctx, request{
		method: http.MethodPost, path: "/containers/" + id + "/attach", query: query, what: "attaching to container " + name,
	}, tty)
}

// Close cuts the connection.
func (a *Attachment) Close() error { return a.conn.Close() }

// Exchange carries the streams until the process has closed its output, or ctx
// ends, which is an error with its cause. What is read from s.In then is lost: a
// Read of it may be outstanding until it returns.
func (a *Attachment) Exchange(ctx context.Context, s Streams) error {
	stop := context.AfterFunc(ctx, func() { _ = a.conn.Close() }) // makes the Read below return
	defer stop()
	defer func() { _ = a.conn.Close() }() // everything of interest has been read
	if s.In != nil {
		go func() {
			// Nobody waits for it, because a Read of standard input cannot be called off.
			_, _ = io.Copy(a.conn, s.In) // the process may not want all of it
			_ = a.conn.CloseWrite()
		}()
	}
	err := a.read(orDiscard(s.Out), orDiscard(s.Err))
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", a.what, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", a.what, err)
	}
	return nil
}

func (a *Attachment) read(out, errs io.Writer) error {
	if a.tty {
		_, err := io.Copy(out, a.conn)
		return err
	}
	return splitFrames(a.conn, out, errs)
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// splitFrames reads frames and writes their content to the streams.
func splitFrames(r io.Reader, out, errs io.Writer) error {
	in := bufio.NewReader(r)
	for {
		stream, size, err := nextFrame(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		to := out
		if stream == 2 {
			to = errs
		}
		if _, err := io.CopyN(to, in, size); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// follow tells Podman the sizes of a terminal until there are no more or ctx ends.
// The first ones may come before there is a terminal; the next one makes up for it.
func (c *Client) follow(ctx context.Context, path string, sizes <-chan Size) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			if err := c.resize(ctx, path, size); err != nil {
				c.log.DebugContext(ctx, "terminal in a container not resized", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (c *Client) resize(ctx context.Context, path string, size Size) error {
	query := url.Values{"h": {strconv.Itoa(int(size.Rows))}, "w": {strconv.Itoa(int(size.Columns))}}
	return c.call(ctx, request{method: http.MethodPost, path: path + "/resize", query: query, what: "resizing a terminal"}, nil)
}

// FollowSizes tells a container the sizes of its terminal, until ctx ends.
func (c *Client) FollowSizes(ctx context.Context, id string, sizes <-chan Size) {
	c.follow(ctx, "/containers/"+id, sizes)
}
