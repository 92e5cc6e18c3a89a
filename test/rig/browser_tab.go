package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// Look is who looks: the size of their screen and what they like.
type Look struct {
	Width, Height int
	Dark          bool
	NoScript      bool
	Still         bool // prefers reduced motion
}

// Tab is one page of a browser.
type Tab struct {
	b       *Browser
	session string
	target  string
	loaded  chan struct{}
	// problems are what the console says: errors of scripts, what the policy refused,
	// what could not be loaded. Guarded by the browser's lock.
	problems []string
}

// Open opens an empty tab.
func (b *Browser) Open(ctx context.Context, l Look) (*Tab, error) {
	t := &Tab{b: b, loaded: make(chan struct{}, 1)}
	var target struct{ TargetID string }
	if err := b.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	t.target = target.TargetID
	var attached struct{ SessionID string }
	if err := b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached); err != nil {
		return nil, err
	}
	t.session = attached.SessionID
	b.mu.Lock()
	b.tabs[t.session] = t
	b.mu.Unlock()
	scheme, motion := "light", "no-preference"
	if l.Dark {
		scheme = "dark"
	}
	if l.Still {
		motion = "reduce"
	}
	for _, c := range []struct {
		method string
		params map[string]any
	}{
		{"Page.enable", nil},
		{"Log.enable", nil},
		{"Runtime.enable", nil},
		{"Emulation.setDeviceMetricsOverride", map[string]any{"width": l.Width, "height": l.Height, "deviceScaleFactor": 1, "mobile": l.Width < 600}},
		{"Emulation.setScriptExecutionDisabled", map[string]any{"value": l.NoScript}},
		{"Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{
			{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion},
		}}},
	} {
		if err := t.call(ctx, c.method, c.params, nil); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Tab) call(ctx context.Context, method string, params, to any) error {
	return t.b.call(ctx, t.session, method, params, to)
}

// event is called by the reader, which holds the browser's lock.
func (t *Tab) event(method string, params json.RawMessage) {
	switch method {
	case "Page.loadEventFired":
		select {
		case t.loaded <- struct{}{}:
		default:
		}
	case "Log.entryAdded":
		var e struct {
			Entry struct{ Level, Text, URL string }
		}
		if json.Unmarshal(params, &e) == nil && e.Entry.Level != "verbose" {
			t.problems = append(t.problems, e.Entry.Level+": "+e.Entry.Text+" "+e.Entry.URL)
		}
	case "Runtime.exceptionThrown", "Runtime.consoleAPICalled":
		t.problems = append(t.problems, method+": "+string(params))
	}
}

// Problems returns what the console said so far.
func (t *Tab) Problems() []string {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	return slices.Clone(t.problems)
}

// Visit loads an address and waits until it is there.
func (t *Tab) Visit(ctx context.Context, address string) error {
	select {
	case <-t.loaded:
	default:
	}
	var answer struct{ ErrorText string }
	if err := t.call(ctx, "Page.navigate", map[string]any{"url": address}, &answer); err != nil {
		return err
	}
	if answer.ErrorText != "" {
		return fmt.Errorf("visiting %s: %s", address, answer.ErrorText)
	}
	select {
	case <-t.loaded:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("visiting %s: %w", address, context.Cause(ctx))
	case <-time.After(browserTimeout):
		return fmt.Errorf("visiting %s: not loaded within %s", address, browserTimeout)
	}
}

// Ask evaluates an expression of JavaScript, also where pages may run none.
func (t *Tab) Ask(ctx context.Context, expression string, to any) error {
	var answer struct {
		Result struct {
			Value json.RawMessage
		}
		ExceptionDetails *struct {
			Exception struct{ Description string }
		}
	}
	if err := t.call(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &answer); err != nil {
		return err
	}
	if e := answer.ExceptionDetails; e != nil {
		return fmt.Errorf("evaluating %s: %s", expression, e.Exception.Description)
	}
	if to == nil || answer.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(answer.Result.Value, to)
}

// Press presses a key, such as Tab or Enter.
func (t *Tab) Press(ctx context.Context, key string, code int) error {
	text := ""
	if key == "Enter" {
		text = "\r"
	}
	for _, kind := range []string{"keyDown", "keyUp"} {
		if err := t.call(ctx, "Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}, nil); err != nil {
			return err
		}
	}
	return nil
}

// Screenshot writes what the tab shows, all of the page, as a PNG.
func (t *Tab) Screenshot(ctx context.Context, file string) error {
	var shot struct{ Data []byte }
	if err := t.call(ctx, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot); err != nil {
		return err
	}
	return os.WriteFile(file, shot.Data, 0o644) //nolint:gosec // a picture for people
}

// Close closes the tab.
func (t *Tab) Close(ctx context.Context) error {
	t.b.mu.Lock()
	delete(t.b.tabs, t.session)
	t.b.mu.Unlock()
	return t.b.call(ctx, "", "Target.closeTarget", map[string]any{"targetId": t.target}, nil)
}
