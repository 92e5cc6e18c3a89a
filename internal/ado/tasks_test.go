package ado_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

var sampleTask = job.TaskReference{ID: "5C2F1B7E-93A4-4D0E-8A6B-1F0E7D3C9A10", Name: "Sample", Version: "1.2.3"}

func taskClient(t *testing.T, url string, o ado.Options) *ado.TaskClient {
	t.Helper()
	m := &job.Message{JobID: "j"}
	m.Resources.Endpoints = []job.Endpoint{{
		Name: job.SystemConnection, URL: url,
		Authorization: job.Authorization{Scheme: "OAuth", Parameters: map[string]string{"AccessToken": secret}},
	}}
	c, err := ado.NewTaskClient(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Protocol §8.3. The package is larger than any answer that is held in memory.
func TestAPackageIsPassedOnAsItArrives(t *testing.T) {
	const size = 80 << 20
	srv := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/zip")
		piece := bytes.Repeat([]byte{7}, 1<<20)
		for range size / len(piece) {
			_, _ = w.Write(piece)
		}
	})
	var got counting
	if err := taskClient(t, srv.URL, options(t)).FetchTask(t.Context(), sampleTask, &got); err != nil {
		t.Fatal(err)
	}
	if got.bytes != size || got.largest > 1<<20 {
		t.Errorf("%d bytes in pieces of at most %d, want %d in small ones", got.bytes, got.largest, size)
	}
	r := srv.asked()[0]
	if want := "/_apis/distributedtask/tasks/5c2f1b7e-93a4-4d0e-8a6b-1f0e7d3c9a10/1.2.3"; r.Method != http.MethodGet || r.Path != want {
		t.Errorf("asked %s %s, want GET %s", r.Method, r.Path, want)
	}
	if r.Header.Get("Authorization") != "Bearer "+secret || !strings.HasPrefix(r.Header.Get("Accept"), "application/zip") || r.Header.Get("User-Agent") != "dockless/test" {
		t.Errorf("asked with %v, want the job's token and the media type of a zip", r.Header)
	}
}

type counting struct{ bytes, largest int }

func (c *counting) Write(p []byte) (int, error) {
	c.bytes, c.largest = c.bytes+len(p), max(c.largest, len(p))
	return len(p), nil
}

func TestAnswersThatAreNoPackageAreErrors(t *testing.T) {
	zip := func(w http.ResponseWriter) { w.Header().Set("Content-Type", "application/zip") }
	for name, c := range map[string]struct {
		handle    http.HandlerFunc
		temporary bool
		want      string
	}{
		"no such task": {func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, ado.KeyTaskNotFound) }, false, "TaskDefinitionNotFoundException"},
		"not allowed":  {func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusUnauthorized, "") }, false, "401"},
		"overloaded":   {func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusServiceUnavailable, "") }, true, "503"},
		"broken":       {func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusInternalServerError, "") }, true, "500"},
		"a definition": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusOK, map[string]string{"token": "t0p-s3cret"})
		}, true, "application/json"},
		"a page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>sign in as "+secret+"</html>")
		}, false, "sign in as ***"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			zip(w)
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "PK")
		}, true, "unexpected EOF"},
		"reset halfway": {func(w http.ResponseWriter, _ *http.Request) {
			zip(w)
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "PK")
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond) // so that the beginning is read before the connection goes
			reset(w)
		}, true, "reset"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
		}, false, "elsewhere.example"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newService(t, c.handle)
			err := taskClient(t, srv.URL, options(t)).FetchTask(t.Context(), sampleTask, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "Sample 1.2.3") {
				t.Fatalf("FetchTask = %v, want an error about %s", err, c.want)
			}
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "t0p-s3cret") {
				t.Errorf("the error shows a secret: %v", err)
			}
			said, ok := temporary(err)
			if again := said || !ok; again != c.temporary || len(srv.asked()) != 1 { // whoever does not say may be asked again
				t.Errorf("temporary = %t after %d requests, want %t after 1", again, len(srv.asked()), c.temporary)
			}
		})
	}
}

// reset ends the connection of a request without an answer, or in the middle of it.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

func TestWhatBreaksADownloadIsKeptApart(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/zip")
		_, _ = io.WriteString(w, "PK")
	})
	c := taskClient(t, srv.URL, options(t))
	full := &fs.PathError{Op: "write", Path: "package.zip", Err: syscall.ENOSPC}
	err := c.FetchTask(t.Context(), sampleTask, writerFunc(func([]byte) (int, error) { return 0, full }))
	if said, ok := temporary(err); !errors.Is(err, full) || !ok || said {
		t.Errorf("a full disk is %v, temporary = %t; want it final", err, said)
	}
	cut := newService(t, func(w http.ResponseWriter, _ *http.Request) { reset(w) })
	err = taskClient(t, cut.URL, options(t)).FetchTask(t.Context(), sampleTask, io.Discard)
	if said, ok := temporary(err); err == nil || !ok || !said {
		t.Errorf("a connection that is reset is %v, temporary = %t; want it worth another attempt", err, said)
	}
	lost := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusInternalServerError, "") }))
	t.Cleanup(lost.Close)
	err = taskClient(t, lost.URL, options(t)).FetchTask(t.Context(), sampleTask, io.Discard)
	if said, ok := temporary(err); err == nil || !ok || !said {
		t.Errorf("a server that cannot say where packages are is %v, temporary = %t; want it worth another attempt", err, said)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	err = taskClient(t, gone.URL, options(t)).FetchTask(t.Context(), sampleTask, io.Discard)
	if said, ok := temporary(err); !errors.Is(err, syscall.ECONNREFUSED) || !ok || !said {
		t.Errorf("a refused connection is %v, temporary = %t; want it worth another attempt", err, said)
	}
}

// temporary returns what err says of itself.
func temporary(err error) (said, ok bool) {
	e, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && e.Temporary(), ok
}

func TestAServerThatStopsSendingIsGivenUp(t *testing.T) {
	for _, sent := range []int{0, 3} {
		t.Run(strconv.Itoa(sent)+" pieces", func(t *testing.T) {
			srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
				for range sent {
					w.Header().Set("Content-Type", "application/zip")
					_, _ = io.WriteString(w, "PK")
					w.(http.Flusher).Flush()
					time.Sleep(60 * time.Millisecond)
				}
				<-r.Context().Done()
			})
			o := options(t)
			o.Timeout = 100 * time.Millisecond // each piece arrives within it, all of them do not
			var got counting
			err := taskClient(t, srv.URL, o).FetchTask(t.Context(), sampleTask, &got)
			if err == nil || !strings.Contains(err.Error(), "stopped sending for 100ms") || got.bytes != 2*sent {
				t.Errorf("FetchTask = %v after %d bytes, want the silence named after %d", err, got.bytes, 2*sent)
			}
		})
	}
}

func TestAJobThatEndsEndsItsDownload(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/zip")
		_, _ = io.WriteString(w, "PK")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	stop := &job.Stop{Reason: job.StopCanceled, Message: "somebody canceled it"}
	ctx, cancel := context.WithCancelCause(t.Context())
	to := writerFunc(func(p []byte) (int, error) { cancel(stop); return len(p), nil })
	err := taskClient(t, srv.URL, options(t)).FetchTask(ctx, sampleTask, to)
	if !errors.Is(err, stop) {
		t.Errorf("FetchTask = %v, want its cause %v", err, stop)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
