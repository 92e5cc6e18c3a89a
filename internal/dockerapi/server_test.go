package dockerapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun"
)

func TestWhatIsCreatedCarriesTheLabelsOfTheOwner(t *testing.T) {
	tests := map[string]struct{ path, body, labels string }{
		"a container":               {"/v1.41/containers/create", `{"Image":"x","Labels":{"a":"b","io.dockless.agent":"evil"}}`, "Labels"},
		"one without a version":     {"/containers/create", `{"Image":"x"}`, "Labels"},
		"one with small labels":     {"/v1.44/containers/create", `{"labels":{"io.dockless.job":"evil"}}`, "labels"},
		"one without a description": {"/v1.44/containers/create", ``, "Labels"},
		"one by libpod":             {"/v5.0.0/libpod/containers/create", `{"image":"x","labels":null}`, "labels"},
		"a network":                 {"/v1.41/networks/create", `{"Name":"n"}`, "Labels"},
		"a network by libpod":       {"/v5.0.0/libpod/networks/create", `{"name":"n","labels":{"a":"b"}}`, "labels"},
		"a volume":                  {"/v1.41/volumes/create", `{"Name":"v"}`, "Labels"},
		"a volume of old libpod":    {"/v4.3.0/libpod/volumes/create", `{}`, "Label"},
		"a pod":                     {"/v5.0.0/libpod/pods/create", `{"name":"p"}`, "labels"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			u := newUpstream()
			c := open(t, u)
			if code, answer := c.do(t, http.MethodPost, test.path, test.body); code != http.StatusOK {
				t.Fatalf("status = %d: %s", code, answer)
			}
			labels, _ := u.body(t, "POST "+test.path)[test.labels].(map[string]any)
			for name, want := range mine.Labels() {
				if labels[name] != want {
					t.Errorf("label %s = %v, want %s", name, labels[name], want)
				}
			}
			if strings.Contains(test.body, `"a":"b"`) && labels["a"] != "b" {
				t.Errorf("labels = %v, want the client's kept", labels)
			}
		})
	}
}

func TestAContainerThatSaysNothingHasTenSecondsToEnd(t *testing.T) {
	tests := map[string]struct {
		path, body string
		want       any
	}{
		"nothing":           {"/v1.41/containers/create", `{"Image":"x"}`, 10.0},
		"null":              {"/v1.41/containers/create", `{"stopTimeout":null}`, 10.0},
		"a time of its own": {"/v1.41/containers/create", `{"StopTimeout":0}`, 0.0},
		"nothing to libpod": {"/v5.0.0/libpod/containers/create", `{"image":"x"}`, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			u := newUpstream()
			if code, answer := open(t, u).do(t, http.MethodPost, test.path, test.body); code != http.StatusOK {
				t.Fatalf("status = %d: %s", code, answer)
			}
			var got any
			for member, value := range u.body(t, "POST "+test.path) {
				if strings.EqualFold(member, "StopTimeout") {
					got = value
				}
			}
			if got != test.want {
				t.Errorf("StopTimeout = %v, want %v", got, test.want)
			}
		})
	}
}

func TestAVolumeThatAContainerNamesIsMadeWithLabelsFirst(t *testing.T) {
	u := newUpstream()
	made := make(chan map[string]any, 4)
	u.mux.HandleFunc("POST /v4.0.0/libpod/volumes/create", func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body) // an empty one fails the test below
		made <- body
		w.WriteHeader(http.StatusCreated)
	})
	c := open(t, u)
	body := `{"HostConfig":{"Binds":["new:/a:ro","data:/b","cache:/c","/etc:/d"],"Mounts":[{"Type":"volume","Source":"mounted","Target":"/m"},{"Type":"volume","Target":"/anonymous"}]}}`
	if code, answer := c.do(t, http.MethodPost, "/v1.41/containers/create", body); code != http.StatusOK {
		t.Fatalf("status = %d: %s", code, answer)
	}
	close(made)
	var names []string
	for m := range made {
		names = append(names, m["Name"].(string))
		if labels, _ := m["Labels"].(map[string]any); labels[podmanrun.LabelJob] != mine.Job {
			t.Errorf("volume %v is made with labels %v, want the owner's", m["Name"], m["Labels"])
		}
	}
	if diff := cmp.Diff([]string{"new", "mounted"}, names); diff != "" {
		t.Errorf("volumes made (-want +got):\n%s", diff)
	}
}

func TestAContainerThatMountsTheDaemonsSocketGetsTheJobsOwn(t *testing.T) {
	u := newUpstream()
	c := open(t, u)
	body := `{"HostConfig":{"Binds":["/var/run/docker.sock:/var/run/docker.sock:ro","/etc:/etc"],"Mounts":[{"Type":"bind","Source":"/run/docker.sock","Target":"/s"}]}}`
	if code, answer := c.do(t, http.MethodPost, "/v1.41/containers/create", body); code != http.StatusOK {
		t.Fatalf("status = %d: %s", code, answer)
	}
	want := map[string]any{
		"Binds":  []any{c.socket + ":/var/run/docker.sock:ro", "/etc:/etc"},
		"Mounts": []any{map[string]any{"Type": "bind", "Source": c.socket, "Target": "/s"}},
	}
	if diff := cmp.Diff(want, u.body(t, "POST /v1.41/containers/create")["HostConfig"]); diff != "" {
		t.Errorf("HostConfig (-want +got):\n%s", diff)
	}
}

func TestAContainerOfLibpodThatMountsTheDaemonsSocketGetsTheJobsOwn(t *testing.T) {
	u := newUpstream()
	c := open(t, u)
	body := `{"image":"x","secrets":[],"secret_env":{},"mounts":[{"type":"bind","source":"/var/run/docker.sock","destination":"/s"},{"type":"bind","source":"/etc","destination":"/e"}]}`
	if code, answer := c.do(t, http.MethodPost, "/v5.0.0/libpod/containers/create", body); code != http.StatusOK {
		t.Fatalf("status = %d: %s", code, answer)
	}
	want := []any{
		map[string]any{"type": "bind", "source": c.socket, "destination": "/s"},
		map[string]any{"type": "bind", "source": "/etc", "destination": "/e"},
	}
	if diff := cmp.Diff(want, u.body(t, "POST /v5.0.0/libpod/containers/create")["mounts"]); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

func TestAnAnonymousVolumeIsNotForcedAway(t *testing.T) {
	u := newUpstream()
	u.mux.HandleFunc("GET /v4.0.0/libpod/volumes/{name}/json", func(w http.ResponseWriter, r *http.Request) {
		reply(w, map[string]any{"Name": r.PathValue("name"), "Anonymous": true})
	})
	c := open(t, u)
	for _, path := range []string{"/v1.41/volumes/a1?force=1", "/v5.0.0/libpod/volumes/a1?Force=true"} {
		if code, answer := c.do(t, http.MethodDelete, path, ""); code != http.StatusOK {
			t.Errorf("DELETE %s = %d %s", path, code, answer)
		}
	}
	if diff := cmp.Diff([]string{"DELETE /v1.41/volumes/a1", "DELETE /v5.0.0/libpod/volumes/a1"}, u.requests()); diff != "" {
		t.Errorf("requests at Podman (-want +got):\n%s", diff)
	}
}

// TestAnotherJobsThingsDoNotExist is the law of the package: whatever way a
// request names what is another job's, Podman never hears of it.
func TestAnotherJobsThingsDoNotExist(t *testing.T) {
	create := "POST /v1.41/containers/create "
	for _, request := range []string{
		"GET /v1.41/containers/other/json", "POST /v1.41/containers/other/start", "DELETE /v1.41/containers/other?force=1",
		"POST /containers/other/exec {}", "GET /v1.41/containers/other/archive?path=/", "POST /v5.0.0/libpod/containers/other/stop",
		"GET /v1.41/containers/operators/json", "POST /v1.41/containers/%6fther/kill", "GET /v1.41/containers/absent/json",
		"GET /v5.0.0/libpod/containers/stats?containers=other",
		"POST /v1.41/exec/in-other/start {}", "GET /v5.0.0/libpod/exec/in-other/json",
		"POST /v1.41/commit?container=other", "POST /v1.41/commit", "POST /v5.0.0/libpod/commit?container=other",
		"GET /v1.41/networks/back", "DELETE /v1.41/networks/back", `POST /v1.41/networks/back/connect {"Container":"web"}`,
		`POST /v1.41/networks/front/connect {"Container":"other"}`, `POST /v5.0.0/libpod/networks/front/disconnect {"container":"other"}`,
		`POST /v1.41/networks/front/connect {}`,
		"GET /v1.41/volumes/precious", "DELETE /v1.41/volumes/precious",
		"GET /v5.0.0/libpod/pods/apart/json", "DELETE /v5.0.0/libpod/pods/apart?force=true",
		"POST /v1.41/build?networkmode=container:other", create + `{"HostConfig":{"NetworkMode":"container:other"}}`, create + `{"HostConfig":{"PidMode":"container:other"}}`,
		create + `{"hostconfig":{"ipcmode":"container:other"}}`, create + `{"HostConfig":{"VolumesFrom":["other:ro"]}}`,
		create + `{"HostConfig":{"NetworkMode":"back"}}`, create + `{"NetworkingConfig":{"EndpointsConfig":{"back":{}}}}`,
		create + `{"HostConfig":{"Binds":["precious:/x"]}}`, create + `{"HostConfig":{"Mounts":[{"Type":"volume","Source":"precious"}]}}`,
		`POST /v5.0.0/libpod/containers/create {"netns":{"nsmode":"container","value":"other"}}`,
		`POST /v5.0.0/libpod/containers/create {"pod":"apart"}`, `POST /v5.0.0/libpod/containers/create {"Networks":{"back":{}}}`,
		`POST /v5.0.0/libpod/containers/create {"volumes":[{"Name":"precious","Dest":"/x"}]}`, `POST /v5.0.0/libpod/containers/create {"volumes_from":["other"]}`,
		`POST /v1.41/volumes/create {"Name":"precious"}`,
		`POST /v5.0.0/libpod/containers/create {"mounts":[{"type":"volume","source":"precious"}]}`,
		// The operator's secrets.
		`POST /v5.0.0/libpod/containers/create {"secrets":[{"Source":"s"}]}`, `POST /v5.0.0/libpod/containers/create {"Secret_Env":{"A":"s"}}`,
		// Two spellings of one member, of which Podman could take the other one.
		create + `{"HostConfig":{"Mounts":[{"Type":"volume","Source":"data","source":"precious"}]}}`,
		`POST /v5.0.0/libpod/containers/create {"netns":{"nsmode":"host","NSMode":"container","value":"other"}}`,
		`POST /v5.0.0/libpod/containers/create {"volumes":[{"Name":"data","name":"precious"}]}`,
		create + `{"HostConfig":{},"hostConfig":{"PidMode":"container:other"}}`, create + `{"Labels":{},"label\u017f":{}}`,
		// Two spellings of one parameter, several values, and one in another case.
		"POST /v1.41/commit?container=web&Container=other", "POST /v1.41/commit?container=web&container=other", "POST /v1.41/commit?CONTAINER=other",
		"DELETE /v1.41/images/image1?force=0&Force=1", "DELETE /v1.41/images/image1?force=0&force=1", "DELETE /v5.0.0/libpod/images/remove?images=a&Images=b&force=true",
		"POST /v1.41/build?networkmode=host&networkmode=container:other", "POST /v1.41/build?networkmode=host&NetworkMode=container:other",
		"POST /v1.41/build?networ%E2%84%AAmode=container:other",
		"POST /v5.0.0/libpod/containers/web/restore?Import=true", "DELETE /v5.0.0/libpod/images/remove?ALL=true",
		"GET /v5.0.0/libpod/containers/stats?Containers=other", "GET /v1.41/containers/json?all=1;x",
		// Paths that a router reads in its own way, and what no job is offered.
		"GET /v1.41/containers//json", "GET /v1.41/containers/web/../other/json", "GET /v1.41/containers/%2e%2e/json", "GET /v1.41//containers/other/json",
		"POST /v5.0.0/libpod/play/kube", "POST /v5.0.0/libpod/kube/apply", "GET /v5.0.0/libpod/secrets/json", "POST /v5.0.0/libpod/system/prune", "POST /v5.0.0/libpod/pods/prune",
		"POST /v5.0.0/libpod/containers/web/restore?import=true", "DELETE /v5.0.0/libpod/images/remove?all=true", "GET /v5.0.0/libpod/containers/showmounted",
		"GET /v1.41/secrets", "GET /v1.41/", "GET /",
	} {
		t.Run(strings.ReplaceAll(request, "/", "⁄"), func(t *testing.T) {
			u := newUpstream()
			c := open(t, u)
			method, rest, _ := strings.Cut(request, " ")
			path, body, _ := strings.Cut(rest, " ")
			code, answer := c.do(t, method, path, body)
			if code < 400 || code >= 500 {
				t.Errorf("status = %d, want a refusal: %s", code, answer)
			}
			if asked := u.requests(); len(asked) > 0 {
				t.Errorf("Podman was asked %q", asked)
			}
			var message struct{ Message string }
			if err := json.Unmarshal([]byte(answer), &message); err != nil || message.Message == "" {
				t.Errorf("answer = %s, want a message as Docker's", answer)
			}
		})
	}
}

func TestTheJobsOwnThingsAreReachedByTheirIDs(t *testing.T) {
	u := newUpstream()
	c := open(t, u)
	for _, request := range []string{
		"POST /v1.41/containers/web/start", "GET /v1.41/containers/web/logs?follow=1", "DELETE /v1.41/containers/web?force=1",
		"DELETE /v5.0.0/libpod/containers/web", "POST /v1.41/exec/in-web/start", "POST /v1.41/commit?container=web",
		`POST /v1.41/networks/podman/connect {"Container":"web"}`, "GET /v1.41/networks/bridge", "DELETE /v1.41/networks/front",
		"GET /v1.41/volumes/cache", "DELETE /v1.41/volumes/data", "POST /v1.41/images/127.0.0.1:5000/a/b/push?tag=1", "POST /v1.41/images/a.example.com/b/push",
	} {
		method, rest, _ := strings.Cut(request, " ")
		path, body, _ := strings.Cut(rest, " ")
		if code, answer := c.do(t, method, path, body); code != http.StatusOK {
			t.Errorf("%s = %d %s", request, code, answer)
		}
	}
	want := []string{
		"POST /v1.41/containers/" + id("web") + "/start", "GET /v1.41/containers/" + id("web") + "/logs?follow=1",
		"DELETE /v1.41/containers/" + id("web") + "?force=1&v=true", "DELETE /v5.0.0/libpod/containers/" + id("web") + "?v=true&volumes=true",
		"POST /v1.41/exec/in-web/start", "POST /v1.41/commit?container=" + id("web"),
		"POST /v1.41/networks/podman/connect", "GET /v1.41/networks/bridge", "DELETE /v1.41/networks/front",
		"GET /v1.41/volumes/cache", "DELETE /v1.41/volumes/data", "POST /v1.41/images/127.0.0.1:5000/a/b/push?tag=1&tlsVerify=false", "POST /v1.41/images/a.example.com/b/push",
	}
	if diff := cmp.Diff(want, u.requests()); diff != "" {
		t.Errorf("requests at Podman (-want +got):\n%s", diff)
	}
	for _, request := range []string{"DELETE /v1.41/networks/podman", "DELETE /v1.41/volumes/cache"} {
		method, path, _ := strings.Cut(request, " ")
		if code, _ := c.do(t, method, path, ""); code != http.StatusForbidden {
			t.Errorf("%s = %d, want 403: it is the operator's", request, code)
		}
	}
}

func TestTheLogsOfAnEndedContainerAreNotFollowed(t *testing.T) {
	for answer, want := range map[string]string{
		`"State":{"Status":"running"}`: "?follow=1",
		`"State":{"Status":"stopped"}`: "", // Podman has yet to clean up
		`"State":{"Status":"exited"}`:  "",
		`"State":{"Status":"exited"},"HostConfig":{"RestartPolicy":{"Name":"always"}}`: "?follow=1",
	} {
		u := newUpstream()
		u.mux.HandleFunc("GET /v4.0.0/libpod/containers/"+id("web")+"/json", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "{"+answer+"}") // the test fails by what is asked for
		})
		c := open(t, u)
		if code, answer := c.do(t, http.MethodGet, "/v1.41/containers/web/logs?Follow=1", ""); code != http.StatusOK {
			t.Errorf("logs = %d %s", code, answer)
		}
		if got := u.requests(); !slices.Contains(got, "GET /v1.41/containers/"+id("web")+"/logs"+want) {
			t.Errorf("of a container with %s Podman was asked %q, want %q", answer, got, want)
		}
	}
}

func TestListsShowTheJobsOwnAndTheOperatorsNetworks(t *testing.T) {
	u := newUpstream()
	u.mux.HandleFunc("GET /v1.41/containers/json", func(w http.ResponseWriter, r *http.Request) { r.SetPathValue("kind", "containers"); u.list(w, r) })
	u.mux.HandleFunc("GET /v1.41/networks", func(w http.ResponseWriter, r *http.Request) { r.SetPathValue("kind", "networks"); u.list(w, r) })
	u.mux.HandleFunc("GET /v1.41/volumes", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"Warnings": nil, "Volumes": []any{
			map[string]any{"Name": "data", "Labels": mine.Labels()}, map[string]any{"Name": "precious", "Labels": theirs.Labels()}, map[string]any{"Name": "cache"},
		}})
	})
	u.mux.HandleFunc("GET /v5.0.0/libpod/pods/json", func(w http.ResponseWriter, r *http.Request) { r.SetPathValue("kind", "pods"); u.list(w, r) })
	u.mux.HandleFunc("GET /v1.41/system/df", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"LayersSize": 5, "Containers": []any{map[string]any{"Id": id("web")}, map[string]any{"Id": id("other")}}, "Volumes": []any{map[string]any{"Name": "data"}, map[string]any{"Name": "precious"}}})
	})
	c := open(t, u)
	for path, want := range map[string][]string{
		"/v1.41/containers/json" + filtered(`{"status":{"running":true}}`): {"web"},
		"/v1.41/networks": {"front", "podman"}, "/v1.41/volumes": {"data"}, "/v5.0.0/libpod/pods/json": {"together"}, "/v1.41/system/df": {"web", "data"},
	} {
		_, answer := c.do(t, http.MethodGet, path, "")
		var got []string
		for _, name := range []string{"web", "other", "operators", "front", "back", "podman", "data", "precious", "cache", "together", "apart"} {
			if strings.Contains(answer, name+`"`) {
				got = append(got, name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s shows (-want +got):\n%s\n%s", path, diff, answer)
		}
	}
	asked := strings.Join(u.requests(), "\n")
	for _, want := range []string{"io.dockless.job%3Dmine", "running"} {
		if !strings.Contains(asked, want) {
			t.Errorf("Podman's filters lack %s:\n%s", want, asked)
		}
	}
	if code, _ := c.do(t, http.MethodGet, "/v1.41/containers/json?filters=nonsense", ""); code != http.StatusBadRequest {
		t.Errorf("status for filters that are no JSON = %d, want 400", code)
	}
}

func TestPruningTouchesTheJobsOwnOnly(t *testing.T) {
	u := newUpstream()
	var removed []string
	u.mux.HandleFunc("DELETE /v4.0.0/libpod/{kind}/{name}", func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		defer u.mu.Unlock()
		removed = append(removed, r.PathValue("kind")+" "+strings.TrimLeft(r.PathValue("name"), "0"))
		w.WriteHeader(http.StatusNoContent)
	})
	c := open(t, u)
	for _, kind := range []string{"containers", "networks", "volumes", "images", "build"} {
		code, answer := c.do(t, http.MethodPost, "/v1.41/"+kind+"/prune", "")
		if code != http.StatusOK || !strings.HasPrefix(answer, "{") {
			t.Errorf("pruning %s = %d %s, want Docker's report", kind, code, answer)
		}
		if kind == "build" {
			continue
		}
		if code, answer := c.do(t, http.MethodPost, "/v5.0.0/libpod/"+kind+"/prune", ""); code != http.StatusOK || !strings.HasPrefix(answer, "[") {
			t.Errorf("pruning %s by libpod = %d %s, want libpod's report", kind, code, answer)
		}
	}
	want := []string{"containers web", "containers web", "networks front", "networks front", "volumes data", "volumes data"}
	if diff := cmp.Diff(want, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if asked := u.requests(); len(asked) > 0 {
		t.Errorf("Podman's own prunes were called: %q", asked)
	}
}

func TestAnImageIsNotForcedAwayFromAnotherJob(t *testing.T) {
	u := newUpstream()
	for _, path := range []string{"GET /images/{name}/json", "GET /v4.0.0/libpod/images/{name}/json"} {
		u.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			reply(w, map[string]string{"Id": strings.Replace("sha256:i1", "1", strings.TrimPrefix(r.PathValue("name"), "image"), 1)})
		})
	}
	c := open(t, u)
	for request, want := range map[string]int{
		"DELETE /v1.41/images/image1?force=1": http.StatusConflict, "DELETE /v1.41/images/image1?Force=1": http.StatusConflict,
		"DELETE /v5.0.0/libpod/images/remove?Images=image2&images=image1&force=1": http.StatusBadRequest, "DELETE /v5.0.0/libpod/images/remove?Images=image2&Images=image1&FORCE=1": http.StatusConflict,
		"DELETE /v1.41/images/image2?Force=1&Force=1": http.StatusOK, "DELETE /v1.41/images/image1": http.StatusOK, "DELETE /v1.41/images/image2?force=true": http.StatusOK,
	} {
		method, path, _ := strings.Cut(request, " ")
		if code, answer := c.do(t, method, path, ""); code != want {
			t.Errorf("%s = %d %s, want %d", request, code, answer, want)
		}
	}
	if asked := u.requests(); slices.Contains(asked, "DELETE /v1.41/images/image1?force=1") {
		t.Errorf("Podman was asked %q", asked)
	}
}
