package libpod

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
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
		"one is not valid":        {http.StatusInternalServerError, "volume has already been removed", 1, 2, false},
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
			client := clientOf(t, srv)
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

func TestAContainerThatEndsWhileItIsLookedAtIsLookedAtAgain(t *testing.T) {
	for says, want := range map[string]int32{
		"open /proc/4932/cgroup: no such process":        2,
		"read /proc/4932/cgroup: no such process":        2,
		"open /proc/4932/cgroup: permission denied":      1,
		"signalling the container: no such process":      1,
		"looking up the user: open /etc: no such device": 1,
	} {
		var asked atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Libpod-API-Version", "4.3.1")
			if !strings.HasSuffix(r.URL.Path, "/containers/web/json") {
				return
			}
			var answer any = map[string]string{"Id": webID}
			if asked.Add(1) == 1 {
				w.WriteHeader(http.StatusInternalServerError)
				answer = refused{Cause: says[strings.LastIndex(says, ": ")+2:], Message: says, Response: http.StatusInternalServerError}
			}
			_ = json.NewEncoder(w).Encode(answer) // the test fails by what it reads
		}))
		client := clientOf(t, srv)
		answer, err := client.InspectContainer(t.Context(), "web")
		if asked.Load() != want || (err == nil) != (want == 2) || err == nil && answer.ID != webID {
			t.Errorf("%s: InspectContainer = %v, %v after %d requests, want %d", says, answer, err, asked.Load(), want)
		}
	}
}

func TestNobodyWaitsForAListLongerThanAllowed(t *testing.T) {
	client := refusingAll(t, http.StatusInternalServerError, "no such volume", "no volume with name other found in database: no such volume")
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, enough)
	defer cancel()
	if _, err := client.ListVolumes(ctx, nil); !errors.Is(err, enough) {
		t.Errorf("ListVolumes = %v, want the cause of its context", err)
	}
}

func TestOnlyListsAndLooksAreAskedForAgain(t *testing.T) {
	for request, want := range map[string]bool{
		"GET /v4.0.0/libpod/volumes/json": true, "GET /volumes": true, "GET /v1.41/volumes": true, "GET /v1.41/networks": true,
		"GET /v1.41/containers/json": true, "GET /v1.41/system/df": true, "GET /libpod/pods/json": true,
		"POST /v1.41/volumes/prune": false, "GET /v1.41/volumes/data": false, "GET /libpod/volumes/data/json": false,
		"GET /v1.41/containers/web/json": true, "GET /libpod/containers/web/json": true, "HEAD /libpod/containers/web/json": false, "GET /v1.41/containers/web/logs": false, "DELETE /v1.41/volumes": false, "GET /libpod/volumes": false, "GET /": false,
		"GET /v1.41/containers/json?filters=%7B%22label%22%3A%5B%22a%22%5D%7D": true, "GET /v1.41/containers/json?filters=%7B%22since%22%3A%5B%22a%22%5D%7D": false,
		"GET /libpod/containers/json?filters=%7B%22before%22%3A%7B%22a%22%3Atrue%7D%7D": false, "GET /v1.41": false,
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := stumbleOf(httptest.NewRequestWithContext(t.Context(), method, path, nil)) != nil; got != want {
			t.Errorf("%s is asked for again: %t, want %t", request, got, want)
		}
	}
}
