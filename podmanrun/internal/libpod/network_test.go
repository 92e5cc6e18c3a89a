package libpod

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestANetworkWhoseSubnetWasTakenMeanwhileGetsAnother(t *testing.T) {
	const taken = "subnet 10.89.0.0/24 is already used on the host or by another config"
	for name, c := range map[string]struct {
		request NetworkRequest
		refuse  int32
		says    string
		made    bool
		asked   int32
	}{
		"Podman chooses":             {NetworkRequest{Name: "n"}, 2, taken, true, 3},
		"nothing gets free":          {NetworkRequest{Name: "n"}, 9, taken, false, 5},
		"the file asks for a subnet": {NetworkRequest{Name: "n", Subnets: []Subnet{{Subnet: "10.89.0.0/24"}}}, 1, taken, false, 1},
		"a bridge has gone": {
			NetworkRequest{Name: "n", Subnets: []Subnet{{Subnet: "10.89.0.0/24"}}}, 1, "route ip+net: no such network interface", true, 2,
		},
		"something else is wrong": {NetworkRequest{Name: "n"}, 1, "unsupported driver x", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Libpod-API-Version", "4.3.1")
				switch {
				case strings.HasSuffix(r.URL.Path, "/exists"):
					w.WriteHeader(http.StatusNotFound)
				case strings.HasSuffix(r.URL.Path, "/create") && asked.Add(1) <= c.refuse:
					w.WriteHeader(http.StatusInternalServerError)
					_ = json.NewEncoder(w).Encode(map[string]string{"message": c.says}) // the test fails by what it reads
				}
			}))
			client := clientOf(t, srv)
			made, err := client.EnsureNetwork(t.Context(), c.request)
			if made != c.made || (err == nil) != c.made || asked.Load() != c.asked {
				t.Errorf("EnsureNetwork = %t, %v after %d requests, want %t after %d", made, err, asked.Load(), c.made, c.asked)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error %q does not say %q", err, c.says)
			}
		})
	}
}

func TestWhoIsSlowerFindsTheVolume(t *testing.T) {
	for message, fails := range map[string]bool{
		"volume with name data already exists: volume already exists":         false,
		"volume driver x not found: required plugin missing":                  true,
		"creating volume directory: mkdir /var/lib/volumes/data: file exists": true,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Libpod-API-Version", "4.3.1")
			switch {
			case strings.HasSuffix(r.URL.Path, "/exists"):
				w.WriteHeader(http.StatusNotFound)
			case strings.HasSuffix(r.URL.Path, "/volumes/create"):
				w.WriteHeader(http.StatusInternalServerError)
				_ = json.NewEncoder(w).Encode(map[string]string{"message": message}) // the test fails by what it reads
			}
		}))
		client, err := Connect(t.Context(), "tcp://"+srv.Listener.Addr().String(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		made, err := client.EnsureVolume(t.Context(), VolumeRequest{Name: "data"})
		if made || (err != nil) != fails {
			t.Errorf("EnsureVolume, refused with %q, = %t, %v, want failure %t", message, made, err, fails)
		}
		client.Close()
		srv.Close()
	}
}

func TestANetworkThatTheBackendKeepsIsNotRemoved(t *testing.T) {
	for answer, want := range map[string]string{
		`[{"Name":"n","Err":null}]`:                "",
		`[{"Name":"n","Err":{}}]`:                  "removing network n: podman's network backend failed",
		`[{"Name":"n","Err":"netavark: no room"}]`: "netavark: no room",
		`[]`: "", ``: "",
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Libpod-API-Version", "4.3.1")
			if r.Method == http.MethodDelete {
				_, _ = w.Write([]byte(answer)) // the test fails by what it reads
			}
		}))
		client, err := Connect(t.Context(), "tcp://"+srv.Listener.Addr().String(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		err = client.RemoveNetwork(t.Context(), "n", false)
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("RemoveNetwork, answered %s, = %v, want %q", answer, err, want)
		}
		client.Close()
		srv.Close()
	}
}
