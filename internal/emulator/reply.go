package emulator

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// reply is the answer to one call on its way to the client. It puts the server's
// clock and what faults add into the header, and can lose the answer. Without
// faults it changes nothing. One goroutine uses it.
type reply struct {
	http.ResponseWriter

	clock func() (now time.Time, shifted bool)
	extra map[string]string // headers that replace the answer's own

	lost    bool        // nothing reaches the client
	nowhere http.Header // the header of an answer that is lost
	begun   bool
	end     FaultKind // FaultDrop or FaultReset: how the connection ends instead; empty: with an answer
}

// Header returns the header of the answer, lost or not.
func (w *reply) Header() http.Header {
	if !w.lost {
		return w.ResponseWriter.Header()
	}
	if w.nowhere == nil {
		w.nowhere = make(http.Header)
	}
	return w.nowhere
}

// WriteHeader begins the answer.
func (w *reply) WriteHeader(status int) {
	if w.lost || w.begun {
		return
	}
	w.begun = true
	h := w.ResponseWriter.Header()
	if now, shifted := w.clock(); shifted {
		h.Set("Date", now.Format(http.TimeFormat)) // net/http sends the true one otherwise
	}
	for name, value := range w.extra {
		h.Set(name, value)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (w *reply) Write(p []byte) (int, error) {
	if w.lost {
		return len(p), nil
	}
	w.WriteHeader(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// Flush sends what was written so far.
func (w *reply) Flush() {
	if w.lost {
		return
	}
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w.ResponseWriter).Flush() // a writer that cannot sends at the end
}

// add makes the answer carry a header.
func (w *reply) add(name, value string) {
	if w.extra == nil {
		w.extra = make(map[string]string)
	}
	w.extra[name] = value
}

// finish ends a call whose answer a fault took: it closes the connection in good
// order or by a reset. The body of the request must have been read, because closing
// a connection on which something waits to be read resets it too. It does nothing
// to other calls. It comes last, for a client may go on as soon as it notices.
func (w *reply) finish() {
	if w.end == "" {
		return
	}
	conn, _, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		// HTTP/2 does not lend its connection. This is net/http's own way to end a
		// call without an answer, and on HTTP/2 a reset of the stream.
		panic(http.ErrAbortHandler)
	}
	under := conn
	if secure, ok := conn.(*tls.Conn); ok {
		under = secure.NetConn()
	}
	if tcp, ok := under.(*net.TCPConn); ok && w.end == FaultReset {
		_ = tcp.SetLinger(0) // fails when the client reset it first
		conn = tcp           // TLS would send its goodbye
	}
	_ = conn.Close() // nobody is left to tell
}
