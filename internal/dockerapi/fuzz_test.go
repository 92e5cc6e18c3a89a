package dockerapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzObject holds that what is judged in a request is what Podman reads in it.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{"Labels":{"a":"b"}}`, `{"labels":null,"HostConfig":{}}`, `{"Labels":{},"labels":{"a":"b"}}`, `{"labelſ":{"a":"b"}}`,
		`{"Labels":{"a":"b"},"Labels":{}}`, `[]`, `null`, `{"LABELS":1}`, ``, `{"labels":{"x":"y"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parseObject(data)
		if err != nil {
			return
		}
		var seen map[string]string
		serr := o.read("Labels", &seen)
		var podman struct{ Labels map[string]string }
		perr := json.Unmarshal(o.encode(), &podman)
		if (serr == nil) != (perr == nil) {
			t.Fatalf("reading Labels of %s: %v, and Podman: %v", data, serr, perr)
		}
		if serr == nil && len(seen) != len(podman.Labels) {
			t.Errorf("Labels of %s = %v, Podman reads %v", data, seen, podman.Labels)
		}
		o.set("Labels", map[string]string{"io.dockless.agent": "a"})
		podman.Labels = nil
		if err := json.Unmarshal(o.encode(), &podman); err != nil || len(podman.Labels) != 1 {
			t.Errorf("after set, Podman reads %v, %v in %s", podman.Labels, err, o.encode())
		}
	})
}

// FuzzCall holds that a path which was taken apart goes on as what was judged.
func FuzzCall(f *testing.F) {
	for _, seed := range []string{
		"/v1.41/containers/x/json", "/containers/%2e%2e/json", "/v5.0.0/libpod/images/a%2Fb/push", "//", "/v1/v1/x", "/libpod/libpod", "/a b", "/%", "/x?filters=%7b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		c, err := newCall(httptest.NewRecorder(), &http.Request{Method: http.MethodGet, URL: u})
		if err != nil {
			return
		}
		out := c.url()
		again, err := newCall(httptest.NewRecorder(), &http.Request{Method: http.MethodGet, URL: &url.URL{Path: out.Path, RawPath: out.RawPath, RawQuery: out.RawQuery}})
		if err != nil || !slices.Equal(again.parts, c.parts) || again.libpod != c.libpod || again.version != c.version {
			t.Errorf("%s goes on as %s: %+v, %v, want %q", target, out, again, err, c.parts)
		}
		for _, part := range c.parts {
			if part == "" || part == "." || part == ".." {
				t.Errorf("%s has the part %q", target, part)
			}
		}
	})
}

// FuzzQuery holds that a query has one reading, in whatever case Podman looks, and
// goes on as it was read.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"container=a&Container=b", "force=0&force=1", "NETWORKMODE=x", "networ%E2%84%AAmode=x", "t=a&t=b", "a;b", "%", "images=a&images=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		query, err := parseQuery(raw)
		if err != nil {
			return
		}
		for name, values := range query {
			for other := range query {
				if other != name && strings.EqualFold(other, name) {
					t.Errorf("%q goes on with %q and %q", raw, name, other)
				}
			}
			for known, several := range judged {
				if strings.EqualFold(known, name) && (known != name || !several && values[len(values)-1] != query.Get(known)) {
					t.Errorf("%q goes on with %s = %q, and %q was judged", raw, name, values, query.Get(known))
				}
			}
		}
		again, err := parseQuery(query.Encode())
		if err != nil || again.Encode() != query.Encode() {
			t.Errorf("%q goes on as %q, which is read as %v, %v", raw, query.Encode(), again, err)
		}
	})
}

// FuzzFilters holds that filters are refused or keep their names.
func FuzzFilters(f *testing.F) {
	for _, seed := range []string{`{"label":["a=b"]}`, `{"label":{"a=b":true,"c":false}}`, `{}`, `[]`, `{"a":null}`, `{"a":1}`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		query := url.Values{"filters": {text}}
		first, err := filters(query)
		if err != nil {
			return
		}
		setFilters(query, first)
		second, err := filters(query)
		if err != nil || len(second) != len(first) {
			t.Errorf("filters %q = %v, and again %v, %v", text, first, second, err)
		}
	})
}
