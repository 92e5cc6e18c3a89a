package rig

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// browsers are the names under which Chromium is installed.
var browsers = []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// browserTimeout bounds one answer of the browser.
const browserTimeout = 30 * time.Second

// Browser is a headless Chromium, spoken to over a pipe (DevTools protocol).
type Browser struct {
	dir  *privateDir
	proc *process
	out  *os.File // commands
	in   *os.File // answers and events
	read sync.WaitGroup

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer
	tabs    map[string]*Tab
	err     error // why no answer will come
}

type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// StartBrowser starts a browser without tabs. It wraps [ErrMissing] when there is
// none on this machine.
func StartBrowser(ctx context.Context) (_ *Browser, err error) {
	binary := ""
	for _, name := range browsers {
		if binary, err = Bin(name); err == nil {
			break
		}
	}
	if err != nil {
		return nil, missing("program chromium")
	}
	b := &Browser{waiting: make(map[int]chan answer), tabs: make(map[string]*Tab)}
	if b.dir, err = makeDir(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Stop(ctx))
		}
	}()
	commands, out, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the browser: %w", err)
	}
	b.out = out
	in, answers, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the browser: %w", err), commands.Close())
	}
	b.in = in
	cmd := exec.CommandContext(context.WithoutCancel(ctx), binary, "--headless", "--remote-debugging-pipe", "--no-sandbox", "--no-first-run",
		"--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--user-data-dir="+b.dir.join("profile"), "about:blank")
	cmd.ExtraFiles = []*os.File{commands, answers} // 3 and 4
	b.proc, err = startProcess("the browser", cmd, b.Log())
	if err = errors.Join(err, commands.Close(), answers.Close()); err != nil {
		return nil, err
	}
	b.read.Go(b.listen)
	return b, b.call(ctx, "", "Browser.getVersion", nil, nil)
}

// NeedBrowser is [StartBrowser] until the test ends.
func NeedBrowser(tb testing.TB) *Browser {
	tb.Helper()
	b, err := StartBrowser(tb.Context())
	if err != nil {
		tb.Fatalf("starting a browser: %v", err)
	}
	stopAfter(tb, "the browser", b.Stop)
	KeepLog(tb, "browser", b.Log())
	return b
}

// Log is the file with what the browser says.
func (b *Browser) Log() string { return b.dir.join("browser.log") }

// Stop ends the browser and removes what it kept.
func (b *Browser) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), cleanTimeout, errCleanTimeout)
	defer cancel()
	var errs []error
	if b.proc != nil {
		errs = append(errs, b.proc.stop(ctx))
	}
	for _, f := range []*os.File{b.out, b.in} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	b.read.Wait()
	return errors.Join(append(errs, b.dir.remove(ctx))...)
}

// listen hands answers and events to whoever waits, until the pipe ends.
func (b *Browser) listen() {
	from := bufio.NewReader(b.in)
	for {
		text, err := from.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			b.err = fmt.Errorf("the browser has gone: %w", err)
			for _, c := range b.waiting {
				close(c)
			}
			b.waiting = nil
			b.mu.Unlock()
			return
		}
		var m struct {
			answer
			ID        int             `json:"id"`
			Method    string          `json:"method"`
			Params    json.RawMessage `json:"params"`
			SessionID string          `json:"sessionId"`
		}
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m) != nil {
			continue
		}
		b.mu.Lock()
		if c := b.waiting[m.ID]; c != nil {
			delete(b.waiting, m.ID)
			c <- m.answer
		} else if t := b.tabs[m.SessionID]; t != nil {
			t.event(m.Method, m.Params)
		}
		b.mu.Unlock()
	}
}

// call sends a command and reads its result into to.
func (b *Browser) call(ctx context.Context, session, method string, params, to any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, browserTimeout, fmt.Errorf("no answer within %s", browserTimeout))
	defer cancel()
	b.mu.Lock()
	if b.err != nil {
		b.mu.Unlock()
		return fmt.Errorf("%s: %w", method, b.err)
	}
	b.last++
	command := map[string]any{"id": b.last, "method": method}
	if params != nil {
		command["params"] = params
	}
	if session != "" {
		command["sessionId"] = session
	}
	c := make(chan answer, 1)
	b.waiting[b.last] = c
	text, err := json.Marshal(command)
	if err == nil {
		_, err = b.out.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a, ok := <-c:
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", method, b.err)
		case a.Error != nil:
			return fmt.Errorf("%s: %s", method, a.Error.Message)
		case to == nil:
			return nil
		}
		return json.Unmarshal(a.Result, to)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, context.Cause(ctx))
	}
}
