package libpod

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestFramesAreSplitIntoTheirStreams(t *testing.T) {
	for name, c := range map[string]struct {
		stream, out, errs string
		err               error
	}{
		"both":                 {frame(1, "a\n") + frame(2, "b") + frame(1, "c"), "a\nc", "b", nil},
		"no line ends":         {frame(1, "\x00\x01\xff"), "\x00\x01\xff", "", nil},
		"an empty frame":       {frame(2, "") + frame(1, "x"), "x", "", nil},
		"nothing":              {"", "", "", nil},
		"a torn header":        {frame(1, "a") + "\x01", "a", "", io.ErrUnexpectedEOF},
		"a torn frame":         {frame(1, "abc")[:9], "a", "", io.ErrUnexpectedEOF},
		"no frame":             {"hello, world", "", "", errAny},
		"an impossible length": {"\x01\x00\x00\x00\xff\xff\xff\xff", "", "", errAny},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs strings.Builder
			err := splitFrames(strings.NewReader(c.stream), &out, &errs)
			if out.String() != c.out || errs.String() != c.errs {
				t.Errorf("out and err = %q and %q, want %q and %q", out.String(), errs.String(), c.out, c.errs)
			}
			if errors.Is(c.err, errAny) && err == nil || !errors.Is(c.err, errAny) && !errors.Is(err, c.err) {
				t.Errorf("splitFrames = %v, want %v", err, c.err)
			}
		})
	}
}

func FuzzSplitFrames(f *testing.F) {
	f.Add([]byte(frame(1, "a\n")))
	f.Add([]byte(frame(2, "a") + frame(1, "b\nc") + frame(0, "in")))
	f.Add([]byte("\x03\x00\x00\x00\x00\x00\x00\x01a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out, errs bytes.Buffer
		if err := splitFrames(bytes.NewReader(data), &out, &errs); err == nil && out.Len()+errs.Len() > len(data) {
			t.Errorf("%d bytes became %d and %d", len(data), out.Len(), errs.Len())
		}
	})
}

func FuzzReadStat(f *testing.F) {
	f.Add("eyJuYW1lIjoiYSIsInNpemUiOjEsIm1vZGUiOjQyMCwibGlua1RhcmdldCI6IiJ9")
	f.Add("%%%")
	f.Add("")
	f.Fuzz(func(t *testing.T, header string) {
		if stat, err := readStat(header); (stat == nil) == (err == nil) {
			t.Errorf("readStat(%q) = %v, %v", header, stat, err)
		}
	})
}

// podmanWith is a server that answers as Podman does; exec has the connection once
// it was handed over.
func podmanWith(t *testing.T, exec func(conn net.Conn, in *bufio.Reader)) *Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v4.0.0/libpod/containers/c/exec", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Id":"s"}`)
	})
	mux.HandleFunc("POST /v4.0.0/libpod/exec/s/start", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "tcp" {
			http.Error(w, `{"message":"no upgrade"}`, http.StatusBadRequest)
			return
		}
		if _, err := io.ReadAll(r.Body); err != nil || exec == nil {
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		exec(conn, buffered.Reader)
	})
	looks := 0
	mux.HandleFunc("GET /v4.0.0/libpod/exec/s/json", func(w http.ResponseWriter, _ *http.Request) {
		looks++
		_, _ = fmt.Fprintf(w, `{"Running":%t,"ExitCode":7}`, looks < 3) // it is known a moment later
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	uri, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", uri.Host)
	}
	transport := &http.Transport{DialContext: dial}
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{URI: uri, http: &http.Client{Transport: transport}, log: slog.New(slog.DiscardHandler)}
}

func TestACommandGetsItsInputToTheEndAndItsExitCodeComesBack(t *testing.T) {
	client := podmanWith(t, func(conn net.Conn, in *bufio.Reader) {
		data, err := io.ReadAll(in) // ends only because the other side has closed its half
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(conn, frame(1, "got "+string(data))+frame(2, "bad"))
	})
	var out, errs strings.Builder
	code, err := client.ExecAttached(t.Context(), "c", "c", ExecRequest{Cmd: []string{"cat"}}, Streams{In: strings.NewReader("hello"), Out: &out, Err: &errs})
	if code != 7 || err != nil || out.String() != "got hello" || errs.String() != "bad" {
		t.Errorf("ExecAttached = %d, %v with %q and %q, want 7 with %q and %q", code, err, out.String(), errs.String(), "got hello", "bad")
	}
}

func TestACommandEndsForUsWithItsContext(t *testing.T) {
	client := podmanWith(t, func(_ net.Conn, in *bufio.Reader) { _, _ = io.ReadAll(in) })
	gone := errors.New("nobody waits any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(gone) })
	_, err := client.ExecAttached(ctx, "c", "c", ExecRequest{Cmd: []string{"sleep"}}, Streams{})
	if !errors.Is(err, gone) {
		t.Errorf("ExecAttached = %v, want %v", err, gone)
	}
}

func TestAServiceThatKeepsItsConnectionIsRefused(t *testing.T) {
	client := podmanWith(t, nil)
	if _, err := client.ExecAttached(t.Context(), "c", "c", ExecRequest{}, Streams{}); err == nil || !strings.Contains(err.Error(), "handing its connection over") {
		t.Errorf("ExecAttached = %v, want an error about the connection", err)
	}
}
