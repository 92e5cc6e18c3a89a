package emulator_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/mask"
)

// Whatever comes over the wire is answered, and never with an internal error.
func FuzzCalls(f *testing.F) {
	cfg := emulator.Defaults()
	cfg.PAT, cfg.PollHold, cfg.StateDir = mask.NewSecret("pat"), 0, f.TempDir()
	srv, err := emulator.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := srv.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Add("OPTIONS", "/_apis/", "", "")
	f.Add("POST", pool+"/agents", "", `{"name":"a","authorization":{"publicKey":{"exponent":"AQAB","modulus":"AQ=="}}}`)
	f.Add("GET", pool+"/jobrequests", "$top=x", "")
	f.Add("GET", pool+"/agents", "demands=a,b+-equals+c", "")
	f.Add("POST", "/_apis/oauth2/token", "", "grant_type=client_credentials&client_assertion=a.b.c")
	f.Add("POST", "/_emulator/jobs", "param.a=b", "steps:\n- script: x\n")
	f.Add("POST", "/_emulator/jobs", "", `{"jobId":"9e2c7d34-58a1-5f6b-8c1e-0d4b7a6f2e10","plan":{"planId":"9e2c7d34-58a1-5f6b-8c1e-0d4b7a6f2e11"},"timeline":{"id":"9e2c7d34-58a1-5f6b-8c1e-0d4b7a6f2e11"}}`)
	f.Add("GET", "/%2f/_apis/build/builds/501/tags/a/b", "", "")
	f.Add("POST", "/_emulator/faults", "", `{"match":"GET x","kind":"status","value":{"code":503,"after":true},"count":1}`)
	f.Add("PATCH", pool, "", `{"name":"Renamed"}`)
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		srv.Heal() // faults of an earlier call would take this one's answer away
		r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1/"+strings.TrimPrefix(path, "/"), strings.NewReader(body))
		if err != nil {
			t.Skip("no request")
		}
		if strings.Contains(query, "repo") {
			t.Skip("reads a repository of the machine")
		}
		r.URL.RawQuery = query
		r.SetBasicAuth("", "pat")
		for _, contentType := range []string{"application/json", "application/yaml", "application/x-www-form-urlencoded"} {
			r.Header.Set("Content-Type", contentType)
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, r)
			if w.Code == http.StatusInternalServerError {
				t.Errorf("%s %s?%s = %d %s", method, path, query, w.Code, w.Body)
			}
		}
	})
}

// Whatever text is taken for a fault can be shown and taken again.
func FuzzFaultText(f *testing.F) {
	f.Add(`{"match":"PATCH /jobrequests/","kind":"status","value":503,"count":1,"every":2}`)
	f.Add(`{"kind":"status","value":{"code":401,"retryAfter":"2s","typeKey":"K","body":"{","contentType":"text/html","headers":{"A":"b"},"after":true}}`)
	f.Add(`{"match":"* .*","kind":"delay","value":"2s"}`)
	f.Add(`{"match":"GET x","kind":"clock-skew","value":"-10m","count":3}`)
	f.Add(`{"kind":"reset","value":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		first, err := emulator.ParseFault([]byte(text))
		if err != nil {
			return
		}
		shown, err := emulator.ShowFault(first)
		if err != nil {
			t.Fatalf("showing %+v: %v", first, err)
		}
		second, err := emulator.ParseFault(shown)
		if err != nil {
			t.Fatalf("%s was taken and shown as %s, which is not: %v", text, shown, err)
		}
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-first +second):\n%s", text, diff)
		}
	})
}
