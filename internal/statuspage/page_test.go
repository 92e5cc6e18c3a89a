package statuspage_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/statuspage"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// values is a source that changes when a test says so.
type values struct {
	mu   sync.Mutex
	over statuspage.Overview
	jobs map[string]statuspage.Job
	logs map[string]*statuspage.Tail
	open bool
}

func (v *values) Overview(_ context.Context, most int) statuspage.Overview {
	v.mu.Lock()
	defer v.mu.Unlock()
	o := v.over
	o.Total, o.Jobs = len(o.Jobs), o.Jobs[:min(len(o.Jobs), most)]
	return o
}

func (v *values) Job(id string) (statuspage.Job, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	j, ok := v.jobs[id]
	return j, ok
}

func (v *values) Log(job, step string, from, most int) (statuspage.Log, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.logs[job+"/"+step]
	if t == nil {
		return statuspage.Log{}, false
	}
	return t.Log(from, most, v.open), true
}

func (v *values) change(how func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	how()
}

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// example has something in every part of every page, and markup in every text.
func example() *values {
	steps := []statuspage.Step{
		{ID: "s1", Name: "Initialize <job>", State: "completed", Result: "succeeded", Started: noon.Add(-time.Minute), Finished: noon.Add(-50 * time.Second), HasLog: true},
		{ID: "s2", Name: "Test", State: "completed", Result: "failed", Started: noon.Add(-50 * time.Second), Finished: noon.Add(-20 * time.Second), Errors: 1, Warnings: 2, Issues: []statuspage.Issue{{Kind: "error", Message: "<b>no</b>"}}},
		{ID: "s3", Name: "Publish", State: "inProgress", Operation: "50 of <100>", Percent: 50, Started: noon.Add(-20 * time.Second), HasLog: true},
		{ID: "s4", Name: "Finish", State: "pending"},
	}
	job := statuspage.Job{
		ID: "903", Name: "Build & <test>", Pipeline: "shop 20261126.1", Agent: "a<1>", Pool: "Default", State: "running", Reason: "<because>",
		Queued: noon.Add(-2 * time.Minute), Started: noon.Add(-time.Minute), Steps: steps, Notes: []string{"<note>"},
		Builds: []statuspage.Build{
			{
				Step: "Docker1", Digest: "sha256:0123", Platforms: []string{"linux/amd64"}, Steps: 2, Cached: 1, Took: 4 * time.Second,
				Rows: []statuspage.BuildRow{{Name: "[1/2] FROM <x>", Cached: true}, {Name: "[2/2] RUN <y>", Start: time.Second, Took: 2 * time.Second, Reason: "file <main.go> changed"}},
			},
			{Step: "Docker2", Steps: 1, Took: time.Second, Reasons: []string{"<reason>"}},
		},
	}
	done := statuspage.Job{ID: "902", Name: "Old", Agent: "a<1>", State: "completed", Result: "canceled", Started: noon.Add(-2 * time.Hour), Finished: noon.Add(-time.Hour)}
	tail := &statuspage.Tail{}
	for i := range 2500 {
		tail.Add(fmt.Appendf(nil, "line %d of <this>", i+1))
	}
	return &values{
		open: true, jobs: map[string]statuspage.Job{"903": job, "902": done}, logs: map[string]*statuspage.Tail{"903/s3": tail, "903/s1": filledTail(3)},
		over: statuspage.Overview{
			Name: "Agent <a>", Version: "1.2.3", Server: "https://dev.azure.com/contoso", Metrics: "/metrics", Notes: []string{"<an operator's note>"},
			Facts:  []statuspage.Fact{{Name: "on", Value: "<host>"}},
			Agents: []statuspage.Agent{{Name: "a<1>", Pool: "Default", State: "busy", Since: noon.Add(-time.Minute), Job: "903", JobName: "Build & <test>"}},
			Pools:  []statuspage.Pool{{Name: "<Default>", Agents: 1, Online: 1, Waiting: 2}},
			Health: &statuspage.Health{
				Live: statuspage.Verdict{OK: true, Text: "2 slots"}, Ready: statuspage.Verdict{Text: "slot <podman> is live"},
				Slots: []statuspage.Slot{{Name: "poll", State: "ready", Reason: "idle", Age: time.Second, Allowed: 3 * time.Minute, Asked: true}, {Name: "lock", State: "stopped"}, {Name: "podman", State: "ready", Age: time.Hour, Allowed: time.Minute, Asked: true}},
			},
			Stacks: []statuspage.Stack{{Name: "of <the> job", Services: []statuspage.Service{{Name: "db<1>", State: "running", Health: "unhealthy"}, {Name: "web", State: "odd<"}}}},
			Jobs:   []statuspage.Job{job, done}, Running: []statuspage.Job{job},
		},
	}
}

// serve serves a page and returns its address.
func serve(t *testing.T, source statuspage.Source) string {
	t.Helper()
	ended := make(chan struct{})
	page := statuspage.New(source, statuspage.Config{Access: statuspage.Loopback}, ended)
	page.At(noon)
	server := httptest.NewServer(page)
	t.Cleanup(func() {
		close(ended)
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return server.URL
}

func get(t *testing.T, address string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(body)
}

func TestEveryPageIsAsItWas(t *testing.T) {
	address := serve(t, example())
	for name, path := range map[string]string{
		"overview": "/", "jobs": "/jobs", "job": "/jobs/903", "done": "/jobs/902", "log": "/jobs/903/log/s1", "still": "/jobs?still=1", "missing": "/jobs/1",
	} {
		_, header, body := get(t, address+path)
		if kind := header.Get("Content-Type"); kind != "text/html; charset=utf-8" {
			t.Errorf("%s is of type %q", name, kind)
		}
		body = regexp.MustCompile(`/status/[0-9a-f]+`).ReplaceAllString(body, "/status/DIGEST")
		file := filepath.Join("testdata", name+".html")
		if *update {
			if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), body); diff != "" {
			t.Errorf("%s (-golden +got; make update rewrites it):\n%s", path, diff)
		}
		for _, text := range []string{"<a>", "<b>", "<an", "<because", "<main.go", "<this", "<reason", "<note", "<x>", "<host", "<the>", "<Default", "ZgotmplZ"} {
			if strings.Contains(body, text) {
				t.Errorf("%s has %q, unescaped", path, text)
			}
		}
	}
}

func TestALongListOfJobsIsCut(t *testing.T) {
	source := example()
	running := source.over.Running[0]
	source.over.Jobs, source.over.Running = nil, nil
	for i := range 3000 {
		source.over.Jobs = append(source.over.Jobs, statuspage.Job{ID: fmt.Sprint("q", i), Name: "Waits", State: "queued"})
	}
	for range 9 {
		source.over.Running = append(source.over.Running, running)
	}
	address := serve(t, source)
	_, _, home := get(t, address+"/")
	if n := strings.Count(home, "<th scope=\"row\"><a href=\"/jobs/q"); n != 25 || !strings.Contains(home, ">All 3000</a>") {
		t.Errorf("the first page lists %d jobs", n)
	}
	if n := strings.Count(home, "End of the log"); n != 6 || !strings.Contains(home, "3 more jobs running") {
		t.Errorf("the first page shows %d logs", n)
	}
	_, _, all := get(t, address+"/jobs")
	if n := strings.Count(all, "<th scope=\"row\"><a href=\"/jobs/q"); n != 2000 || !strings.Contains(all, "3000 jobs, of which the newest 2000 are listed") {
		t.Errorf("the list of all has %d jobs", n)
	}
}

func TestALogIsShownInParts(t *testing.T) {
	address := serve(t, example())
	link := regexp.MustCompile(`<a rel="(prev|next)" href="([^"]+)"`)
	for path, want := range map[string]string{
		"/jobs/903/log/s3":           "Lines 1501 to 2500 of 2500 prev=/jobs/903/log/s3?from=501",
		"/jobs/903/log/s3?from=501":  "Lines 501 to 1500 of 2500 prev=/jobs/903/log/s3?from=257 next=/jobs/903/log/s3?from=1501",
		"/jobs/903/log/s3?from=1":    "Lines 257 to 1256 of 2500 next=/jobs/903/log/s3?from=1257",
		"/jobs/903/log/s3?from=9999": " prev=/jobs/903/log/s3?from=1501",
		"/jobs/903/log/s1":           "Lines 1 to 3 of 3",
	} {
		code, _, body := get(t, address+path)
		got := regexp.MustCompile(`Lines \d+ to \d+ of \d+`).FindString(regexp.MustCompile(`</?span[^>]*>`).ReplaceAllString(body, ""))
		for i, m := range link.FindAllStringSubmatch(body, -1) {
			if i < 2 && !strings.Contains(got, m[1]) { // the links are there twice
				got += " " + m[1] + "=" + m[2]
			}
		}
		if code != http.StatusOK || got != want {
			t.Errorf("%s answers %d and shows %q, want %q", path, code, got, want)
		}
	}
	for path, want := range map[string]int{
		"/jobs/903/log/s3?from=0": 400, "/jobs/903/log/s3?from=x": 400, "/jobs/903/log/s3?from=-1": 400, "/jobs/903/log/none": 404, "/jobs/1/log/s3": 404, "/elsewhere": 404, "/jobs/903/log/": 404,
	} {
		if code, _, _ := get(t, address+path); code != want {
			t.Errorf("%s answers %d, want %d", path, code, want)
		}
	}
}

func TestThePageIsReadOnlyAndBringsItsOwnPolicy(t *testing.T) {
	address := serve(t, example())
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"} {
		for _, path := range []string{"/", "/jobs/903", "/events", "/jobs/903/log/s3"} {
			request, err := http.NewRequestWithContext(t.Context(), method, address+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if want := map[bool]int{true: 200, false: 405}[method == "HEAD"]; answer.StatusCode != want {
				t.Errorf("%s %s answers %d, want %d", method, path, answer.StatusCode, want)
			}
			for name, want := range map[string]string{
				"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; ", "X-Content-Type-Options": "nosniff",
				"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
			} {
				if got := answer.Header.Get(name); !strings.HasPrefix(got, want) {
					t.Errorf("%s of %s %s is %q, want %q", name, method, path, got, want)
				}
			}
		}
	}
	_, _, body := get(t, address+"/")
	for _, m := range regexp.MustCompile(`(?:href|src)="(/status/[^"]+)"`).FindAllStringSubmatch(body, -1) {
		code, header, content := get(t, address+m[1])
		if code != http.StatusOK || !strings.Contains(header.Get("Cache-Control"), "immutable") || content == "" || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s answers %d with %v", m[1], code, header)
		}
		if strings.Contains(content, "http:") && !strings.Contains(content, "www.w3.org/2000/svg") || strings.Contains(content, "https:") || strings.Contains(content, "@import") {
			t.Errorf("%s names something elsewhere", m[1])
		}
	}
}

func TestOnlyThoseWhoMayLookAreAnswered(t *testing.T) {
	names := []string{"agent.ci.example"}
	for name, c := range map[string]struct {
		access, from, host string
		header             string
		want               int
	}{
		"this machine":                {"loopback", "127.0.0.1:5", "localhost:9464", "", 200},
		"this machine by address":     {"loopback", "[::1]:5", "[::1]:9464", "", 200},
		"as IPv6 writes IPv4":         {"loopback", "[::ffff:127.0.0.1]:5", "127.0.0.1", "", 200},
		"a forwarded name":            {"loopback", "127.0.0.1:5", "agent.CI.example.:80", "", 200},
		"below localhost":             {"loopback", "127.0.0.1:5", "dockless.localhost", "", 200},
		"another machine":             {"loopback", "10.0.0.7:5", "10.0.0.8:9464", "", 403},
		"another machine that lies":   {"loopback", "10.0.0.7:5", "localhost", "", 403},
		"through a sidecar":           {"loopback", "127.0.0.6:5", "localhost", "X-Forwarded-For", 403},
		"through a sidecar, openly":   {"loopback", "127.0.0.6:5", "10.0.0.8:9464", "", 421},
		"a name that was made to fit": {"loopback", "127.0.0.1:5", "evil.example:9464", "", 421},
		"no name":                     {"loopback", "127.0.0.1:5", "", "", 421},
		"something odd":               {"loopback", "@", "localhost", "", 403},
		"public":                      {"public", "10.0.0.7:5", "10.0.0.8:9464", "", 200},
		"public, through a proxy":     {"public", "10.0.0.7:5", "agent.ci.example", "X-Forwarded-For", 200},
		"public, by a wrong name":     {"public", "10.0.0.7:5", "evil.example", "", 421},
		"off":                         {"off", "127.0.0.1:5", "localhost", "", 404},
		"nothing said":                {"", "127.0.0.1:5", "localhost", "", 404},
	} {
		page := statuspage.New(example(), statuspage.Config{Access: c.access, Hosts: names}, nil)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr, r.Host = c.from, c.host
		if c.header != "" {
			r.Header.Set(c.header, "10.0.0.9")
		}
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		if w.Code != c.want || (w.Code == 200) != strings.Contains(w.Body.String(), "Build &amp;") {
			t.Errorf("%s is answered %d, want %d: %.300s", name, w.Code, c.want, w.Body)
		}
	}
}

func TestSettingsThatSayNothingAreRefused(t *testing.T) {
	for _, bad := range []statuspage.Config{{}, {Access: "everybody"}, {Access: "public", Hosts: []string{"http://a"}}, {Access: "public", Hosts: []string{"a:80"}}, {Access: "public", Hosts: []string{""}}} {
		if err := bad.Validate(); err == nil || len(hint.All(err)) != 1 {
			t.Errorf("Validate(%+v) = %v with hints %q", bad, err, hint.All(err))
		}
	}
	if err := (statuspage.Config{Access: "loopback", Hosts: []string{"a.example"}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestALengthOfTimeIsForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0 s", 0: "0.0 s", 1234 * time.Millisecond: "1.2 s", 59 * time.Second: "59 s", 3 * time.Minute: "3 min",
		200 * time.Second: "3 min 20 s", 2 * time.Hour: "2 h", 125 * time.Minute: "2 h 5 min",
	} {
		if got := statuspage.Duration(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}
