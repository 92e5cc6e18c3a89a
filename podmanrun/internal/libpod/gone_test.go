package libpod

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const (
	webID = "4e2b7a0d1c9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a3928170615"
	dbID  = "aa2b7a0d1c9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a3928170615"
)

// clientOf connects to a service that a test plays; both end with the test.
func clientOf(t *testing.T, srv *httptest.Server) *Client {
	t.Helper()
	t.Cleanup(srv.Close)
	c, err := Connect(t.Context(), "tcp://"+srv.Listener.Addr().String(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// refusingAll plays a Podman service that refuses everything but the first question with
// these words.
func refusingAll(t *testing.T, code int, cause, message string) *Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "4.3.1")
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(refused{Cause: cause, Message: message, Response: code}) // the test fails by what it reads
	}))
	return clientOf(t, srv)
}

func TestWhatIsRemovedWhileItIsAskedForIsNotThere(t *testing.T) {
	const (
		noContainer = "no such container"
		inDatabase  = "container " + webID + " does not exist in database: no such container"
		notValid    = "container " + webID + " is not valid: container has already been removed"
		another     = "container " + dbID + " does not exist in database: no such container"
	)
	for name, c := range map[string]struct {
		method, path   string
		cause, message string
		want           int
	}{
		"it is inspected":              {http.MethodGet, "/containers/" + webID + "/json", noContainer, inDatabase, 404},
		"by the start of its ID":       {http.MethodGet, "/containers/" + webID[:12] + "/json", noContainer, inDatabase, 404},
		"by its name":                  {http.MethodGet, "/containers/web/json", noContainer, inDatabase, 404},
		"in few words":                 {http.MethodGet, "/containers/" + webID + "/top", noContainer, noContainer, 404},
		"it has been removed already":  {http.MethodPost, "/containers/" + webID + "/stop", "container has already been removed", notValid, 404},
		"a command begins in it":       {http.MethodPost, "/exec/" + dbID + "/start", noContainer, inDatabase, 404},
		"two remove it":                {http.MethodDelete, "/containers/" + webID, noContainer, inDatabase, 404},
		"a volume":                     {http.MethodGet, "/volumes/data/json", "no such volume", "no volume with name data found in database: no such volume", 404},
		"a volume that two remove":     {http.MethodDelete, "/volumes/data", "volume has already been removed", "volume has already been removed", 404},
		"a pod":                        {http.MethodDelete, "/pods/p", "no such pod", "pod p does not exist in DB: no such pod", 404},
		"a container of a pod":         {http.MethodDelete, "/pods/p", noContainer, inDatabase, 500},
		"another container":            {http.MethodDelete, "/containers/" + webID, noContainer, another, 500},
		"a list":                       {http.MethodGet, "/containers/json", "something else", "something else", 500},
		"what a creation needs":        {http.MethodPost, "/containers/create", noContainer, another, 500},
		"the network of a creation":    {http.MethodPost, "/containers/create", "network not found", "unable to find network with name or ID n: network not found", 500},
		"an interface":                 {http.MethodPost, "/containers/" + webID + "/start", "no such network interface", "route ip+net: no such network interface", 500},
		"a file":                       {http.MethodPost, "/containers/" + webID + "/start", "no such file or directory", "stat /data: no such file or directory", 500},
		"the volume of a container":    {http.MethodPost, "/containers/" + webID + "/start", "no such volume", "no volume with name data found in database: no such volume", 500},
		"another thing is wrong there": {http.MethodGet, "/containers/" + webID + "/json", "database is locked", "database is locked", 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := refusingAll(t, http.StatusInternalServerError, c.cause, c.message)
			err := client.call(t.Context(), request{method: c.method, path: c.path, what: "asking"}, nil)
			if !HasStatus(err, c.want) || !strings.Contains(err.Error(), c.message) {
				t.Errorf("the error is %q, want status %d and podman's words", err, c.want)
			}
		})
	}
}

func TestAContainerThatIsBeingRemovedIsNotUnhealthyButGone(t *testing.T) {
	client := refusingAll(t, http.StatusInternalServerError, "no such container", "container "+webID+" does not exist in database: no such container")
	if _, _, err := client.CheckContainer(t.Context(), webID, "web", requestTimeout); !HasStatus(err, http.StatusNotFound) {
		t.Errorf("CheckContainer = %v, want a 404", err)
	}
	if err := client.RemoveContainer(t.Context(), webID, "web", 0); err != nil {
		t.Errorf("RemoveContainer = %v, want nothing: it is gone", err)
	}
}

func TestADockerClientReadsDockersWordsForWhatIsGone(t *testing.T) {
	for path, want := range map[string]string{
		"/v1.41/containers/" + webID + "/json": "No such container: " + webID,
		"/containers/web/json":                 "No such container: web",
		"/exec/s/start":                        "No such exec instance: s",
	} {
		client := refusingAll(t, http.StatusInternalServerError, "no such container", "container "+webID+" does not exist in database: no such container")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://d"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Transport().RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		var says refused
		err = json.NewDecoder(resp.Body).Decode(&says)
		_ = resp.Body.Close() // it was read
		if err != nil || resp.StatusCode != http.StatusNotFound || says.Message != want || says.Response != http.StatusNotFound {
			t.Errorf("%s is answered %d, %+v (%v), want 404 and %q", path, resp.StatusCode, says, err, want)
		}
	}
}

func FuzzWhatIsRefusedStaysReadable(f *testing.F) {
	f.Add("/containers/web/json", `{"cause":"no such container","message":"m","response":500}`)
	f.Add("/v4.0.0/libpod/volumes/data/json", `{"cause":"no such volume"}{"cause":"x"}`)
	f.Add("/v1", `not JSON`)
	f.Add("/libpod", ``)
	f.Fuzz(func(t *testing.T, path, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.URL.Path = path
		resp := &http.Response{StatusCode: http.StatusInternalServerError, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
		correct(r, resp)
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode == http.StatusInternalServerError && string(data) != body {
			t.Errorf("%s, refused with %q, is read as %q (%v)", path, body, data, err)
		}
		if resp.StatusCode == http.StatusNotFound && !json.Valid(data) {
			t.Errorf("%s, refused with %q, is answered %q", path, body, data)
		}
	})
}
