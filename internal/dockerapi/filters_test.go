package dockerapi_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// aVolume is one of a service that knows which are in use.
type aVolume struct {
	labels map[string]string
	used   bool
}

// holding makes u a Podman service with volumes. It joins their filters with "or", and
// the values of one for labels with "and", as every release does.
func (u *upstream) holding(volumes map[string]aVolume) {
	passes := func(name string, v aVolume, f map[string][]string) bool {
		for kind, values := range f {
			if slices.ContainsFunc(values, func(value string) bool {
				key, want, hasValue := strings.Cut(value, "=")
				got, there := v.labels[key]
				switch kind {
				case "dangling":
					return v.used != (value == "true")
				case "name":
					return strings.Contains(name, value)
				case "label":
					return there && (!hasValue || got == want)
				}
				return false
			}) {
				return true
			}
		}
		return len(f) == 0
	}
	list := func(r *http.Request) []any {
		var f map[string][]string
		_ = json.Unmarshal([]byte(r.URL.Query().Get("filters")), &f) // none are none
		list := []any{}
		for _, name := range slices.Sorted(maps.Keys(volumes)) {
			if v := volumes[name]; passes(name, v, f) {
				list = append(list, map[string]any{"Name": name, "Labels": v.labels})
			}
		}
		return list
	}
	u.mux.HandleFunc("GET /v4.0.0/libpod/volumes/json", func(w http.ResponseWriter, r *http.Request) { reply(w, list(r)) })
	u.mux.HandleFunc("GET /v5.0.0/libpod/volumes/json", func(w http.ResponseWriter, r *http.Request) { reply(w, list(r)) })
	u.mux.HandleFunc("GET /v1.41/volumes", func(w http.ResponseWriter, r *http.Request) { reply(w, map[string]any{"Volumes": list(r)}) })
}

// labelledMine is a volume of the job's with more labels.
func labelledMine(more ...string) map[string]string {
	labels := mine.Labels()
	for _, label := range more {
		name, value, _ := strings.Cut(label, "=")
		labels[name] = value
	}
	return labels
}

func someVolumes() map[string]aVolume {
	return map[string]aVolume{
		"x1": {labels: labelledMine("x=1")}, "x2": {labels: labelledMine("x=2", "y=2")}, "plain": {labels: labelledMine()},
		"busy": {labels: labelledMine("x=1"), used: true}, "theirs": {labels: theirs.Labels()}, "nobodys": {},
	}
}

func TestAVolumeIsPrunedOnlyWhenItPassesAllFilters(t *testing.T) {
	for filter, want := range map[string][]string{
		`{}`:                                 {"plain", "x1", "x2"},
		`{"label":{"x":true}}`:               {"x1", "x2"},
		`{"label":["x=1"]}`:                  {"x1"},
		`{"label":["x","y=2"]}`:              {"x2"},
		`{"label":["x=3"]}`:                  {},
		`{"label!":{"x":true}}`:              {"plain"},
		`{"label!":["x","y"]}`:               {"plain", "x1"},
		`{"label":["x"],"label!":["x=1"]}`:   {"x2"},
		`{"all":["true"],"label":["y=2"]}`:   {"x2"},
		`{"label":["x"],"name":["1"]}`:       {"x1"},
		`{"label":["x"],"dangling":["no"]}`:  {"x1", "x2"},
		`{"label":["io.dockless.job=mine"]}`: {"plain", "x1", "x2"},
	} {
		u := newUpstream()
		u.holding(someVolumes())
		removed := []string{}
		u.mux.HandleFunc("DELETE /v4.0.0/libpod/volumes/{name}", func(w http.ResponseWriter, r *http.Request) {
			u.mu.Lock()
			defer u.mu.Unlock()
			removed = append(removed, r.PathValue("name"))
			w.WriteHeader(http.StatusNoContent)
		})
		code, answer := open(t, u).do(t, http.MethodPost, "/v1.41/volumes/prune"+filtered("%s", filter), "")
		slices.Sort(removed)
		if diff := cmp.Diff(want, removed); diff != "" || code != http.StatusOK {
			t.Errorf("pruning with %s = %d %s; removed (-want +got):\n%s", filter, code, answer, diff)
		}
	}
}

func TestAListOfVolumesHasThoseThatPassAllFilters(t *testing.T) {
	for filter, want := range map[string][]string{
		`{}`:                                  {"busy", "plain", "x1", "x2"},
		`{"label":{"x=1":true}}`:              {"busy", "x1"},
		`{"dangling":["true"]}`:               {"plain", "x1", "x2"},
		`{"dangling":["true"],"label":["x"]}`: {"x1", "x2"},
		`{"dangling":{"false":true},"name":["x1"]}`: {},
		`{"name":["x"],"label":["y"]}`:              {"x2"},
		`{"label!":["x"]}`:                          {"plain"},
	} {
		u := newUpstream()
		u.holding(someVolumes())
		c := open(t, u)
		for _, path := range []string{"/v1.41/volumes", "/v5.0.0/libpod/volumes/json"} {
			code, answer := c.do(t, http.MethodGet, path+filtered("%s", filter), "")
			got := []string{}
			for _, name := range slices.Sorted(maps.Keys(someVolumes())) {
				if strings.Contains(answer, `"`+name+`"`) {
					got = append(got, name)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" || code != http.StatusOK {
				t.Errorf("%s with %s = %d (-want +got):\n%s", path, filter, code, diff)
			}
		}
	}
}

func TestContainersAndNetworksArePrunedByTheirLabels(t *testing.T) {
	u := newUpstream()
	u.things["containers"] = map[string]map[string]string{"web": mine.Labels(), "job": labelledMine("x=1"), "other": theirs.Labels()}
	u.things["networks"] = map[string]map[string]string{"front": mine.Labels(), "back": labelledMine("x=1"), "podman": {}}
	var removed []string
	u.mux.HandleFunc("DELETE /v4.0.0/libpod/{kind}/{name}", func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		defer u.mu.Unlock()
		removed = append(removed, strings.TrimLeft(r.PathValue("name"), "0"))
		w.WriteHeader(http.StatusNoContent)
	})
	c := open(t, u)
	for _, request := range []string{"containers/prune" + filtered(`{"label":["x"]}`), "networks/prune" + filtered(`{"label!":["x"]}`)} {
		if code, answer := c.do(t, http.MethodPost, "/v1.41/"+request, ""); code != http.StatusOK {
			t.Errorf("%s = %d %s", request, code, answer)
		}
	}
	if diff := cmp.Diff([]string{"job", "front"}, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
}

// stumbling makes u answer lists of volumes, and the use of the disk, as Podman does
// when others remove volumes: each first time it fails.
func (u *upstream) stumbling() {
	var failed sync.Map
	answer := func(full func(w http.ResponseWriter)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if _, again := failed.LoadOrStore(r.URL.RequestURI(), true); again {
				full(w)
				return
			}
			w.WriteHeader(http.StatusInternalServerError)
			reply(w, map[string]any{"cause": "no such volume", "message": "no volume with name theirs found in database: no such volume", "response": 500})
		}
	}
	list := []any{map[string]any{"Name": "data", "Labels": mine.Labels()}}
	u.mux.HandleFunc("GET /v4.0.0/libpod/volumes/json", answer(func(w http.ResponseWriter) { reply(w, list) }))
	u.mux.HandleFunc("GET /v5.0.0/libpod/volumes/json", answer(func(w http.ResponseWriter) { reply(w, list) }))
	u.mux.HandleFunc("GET /v1.41/volumes", answer(func(w http.ResponseWriter) { reply(w, map[string]any{"Volumes": list}) }))
	u.mux.HandleFunc("GET /v1.41/system/df", answer(func(w http.ResponseWriter) { reply(w, map[string]any{"Volumes": list}) }))
	u.mux.HandleFunc("DELETE /v4.0.0/libpod/volumes/{name}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
}

func TestAListThatAnotherJobsRemovalBrokeIsAskedForAgain(t *testing.T) {
	for _, request := range [][2]string{
		{http.MethodGet, "/v1.41/volumes"},
		{http.MethodGet, "/v5.0.0/libpod/volumes/json"},
		{http.MethodGet, "/v1.41/system/df"},
		{http.MethodPost, "/v1.41/volumes/prune"},
		{http.MethodGet, "/v1.41/volumes" + filtered(`{"dangling":["true"]}`)},
	} {
		u := newUpstream()
		u.stumbling()
		if code, answer := open(t, u).do(t, request[0], request[1], ""); code != http.StatusOK || !strings.Contains(answer, `"data"`) {
			t.Errorf("%v is answered %d: %s, want the job's volume", request, code, answer)
		}
	}
}

func TestAListThatPodmanRefusesSaysWhy(t *testing.T) {
	for code, want := range map[int]string{
		http.StatusBadRequest:          "Podman does not take the filters for volumes: what it says",
		http.StatusInternalServerError: "podman answered 500 when it was asked for volumes: what it says",
	} {
		u := newUpstream()
		u.mux.HandleFunc("GET /v4.0.0/libpod/volumes/json", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			reply(w, map[string]any{"message": "what it says"})
		})
		got, answer := open(t, u).do(t, http.MethodPost, "/v1.41/volumes/prune", "")
		var says struct{ Message string }
		_ = json.Unmarshal([]byte(answer), &says) // the test fails by what it reads
		if got != code || says.Message != want {
			t.Errorf("a list refused with %d is answered %d, %q, want %q", code, got, says.Message, want)
		}
	}
}

func TestANetworkThatPodmanKeepsIsNotReportedAsPruned(t *testing.T) {
	u := newUpstream()
	u.things["networks"] = map[string]map[string]string{"front": mine.Labels(), "stuck": mine.Labels()}
	u.mux.HandleFunc("DELETE /v4.0.0/libpod/networks/{name}", func(w http.ResponseWriter, r *http.Request) {
		report := map[string]any{"Name": r.PathValue("name"), "Err": nil}
		if r.PathValue("name") == "stuck" {
			report["Err"] = map[string]any{}
		}
		reply(w, []any{report})
	})
	code, answer := open(t, u).do(t, http.MethodPost, "/v1.41/networks/prune", "")
	if code != http.StatusOK || strings.TrimSpace(answer) != `{"NetworksDeleted":["front"]}` {
		t.Errorf("pruning networks = %d %s, want the one that is gone", code, answer)
	}
}
