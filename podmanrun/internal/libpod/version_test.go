package libpod

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// serviceOf plays a service whose every answer has one header.
func serviceOf(t *testing.T, header, value string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(header, value)
		_, _ = w.Write([]byte("OK")) // the test fails by what it reads
	}))
	t.Cleanup(srv.Close)
	return "tcp://" + srv.Listener.Addr().String()
}

func TestAServiceThatIsTooOldIsNamedWithWhatItHasAndWhatIsNeeded(t *testing.T) {
	for name, c := range map[string]struct{ header, value, want string }{
		"Podman 3": {"Libpod-API-Version", "3.4.4", "it is Podman 3.4.4, and stacks need 4.0 or later"},
		"Docker":   {"Api-Version", "1.47", "it is no Podman but speaks Docker's API 1.47 only"},
		"a proxy":  {"Server", "nginx", "it is no Podman: its answer has no Libpod-API-Version"},
		"Podman 4": {"Libpod-API-Version", "4.0.0", ""},
		"Podman 6": {"Libpod-API-Version", "6.0.0-dev", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := Connect(t.Context(), serviceOf(t, c.header, c.value), slog.New(slog.DiscardHandler))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("Connect = %v, want %q", err, c.want)
			}
			if err == nil {
				client.Close()
			}
		})
	}
}

func TestWhatAReleaseWouldIgnoreIsRefused(t *testing.T) {
	subpath := &CreateRequest{ImageVolumes: []ImageVolume{{SubPath: "etc"}}}
	ipc := &CreateRequest{IpcNS: &Namespace{Mode: "shareable"}}
	for name, c := range map[string]struct {
		version string
		request *CreateRequest
		want    string
	}{
		"an image's subpath in 4.3":  {"4.3.1", subpath, "a volume of type image with a subpath needs Podman 5.1 or later, and Podman 4.3.1 there would ignore it"},
		"an image's subpath in 5.1":  {"5.1.0", subpath, ""},
		"shareable memory in 4.0":    {"4.0.2", ipc, "ipc: shareable or none needs Podman 4.1"},
		"shareable memory in 4.3":    {"4.3.1", ipc, ""},
		"nothing special":            {"4.0.0", &CreateRequest{}, ""},
		"a version without a number": {"unknown", subpath, "needs Podman 5.1"},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&Client{Version: c.version}).Check(c.request)
			if _, ok := errors.AsType[*UnsupportedError](err); ok != (c.want != "") || ok && !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check = %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzOlder(f *testing.F) {
	f.Add("4.3.1", "5.0")
	f.Add("5.8.3-rc1", "5.8.3")
	f.Add("", "v1.2.3.4")
	f.Fuzz(func(t *testing.T, a, b string) {
		if older(a, b) && older(b, a) {
			t.Errorf("%q and %q are each older than the other", a, b)
		}
	})
}
