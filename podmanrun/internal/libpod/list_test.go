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

func TestAListThatAnothersRemovalBrokeIsAskedForAgain(t *testing.T) {
	const gone = "no volume with name other found in database: no such volume"
	for name, c := range map[string]struct {
		code   int
		says   string
		refuse int32
		asked  int32
		fails  bool
	}{
		"one goes":                {http.StatusInternalServerError, gone, 1, 2, false},
		"three go":                {http.StatusInternalServerError, gone, 3, 4, false},
		"something else is wrong": {http.StatusInternalServerError, "database is locked", 1, 1, true},
		"the request is wrong":    {http.StatusBadRequest, "no such filter", 1, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Libpod-API-Version", "4.3.1")
				if !strings.HasSuffix(r.URL.Path, "/volumes/json") {
					return
				}
				var answer any = []map[string]any{{"Name": "mine", "Labels": map[string]string{"a": "b"}}, {"Name": "not mine"}}
				if asked.Add(1) <= c.refuse {
					w.WriteHeader(c.code)
					answer = map[string]string{"message": c.says}
				}
				_ = json.NewEncoder(w).Encode(answer) // the test fails by what it reads
			}))
			defer srv.Close()
			client, err := Connect(t.Context(), "tcp://"+srv.Listener.Addr().String(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			list, err := client.ListVolumes(t.Context(), map[string]string{"a": "b"})
			if (err != nil) != c.fails || asked.Load() != c.asked {
				t.Errorf("ListVolumes = %v, %v after %d requests, want %d and failure %t", list, err, asked.Load(), c.asked, c.fails)
			}
			if !c.fails && (len(list) != 1 || list[0].Name != "mine") {
				t.Errorf("ListVolumes = %v, want the one that carries the label", list)
			}
			if c.fails && !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error %q does not say %q", err, c.says)
			}
		})
	}
}
