package emulator_test

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
)

var placeholder = regexp.MustCompile(`\{\*?(\w+)\}`)

// Every call with every credential is answered, whatever stands in its route and its
// body, and never with an internal error.
func TestMalformedCallsAreRefused(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PollHold, c.LockDuration = 0, time.Minute })
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	right := map[string]string{
		"poolId": "12", "agentId": fmt.Sprint(p.agentID), "sessionId": p.session, "messageId": "41", "requestId": fmt.Sprint(p.request),
		"scopeIdentifier": p.scope, "hubName": "Build", "planId": p.plan, "timelineId": p.timeline, "recordId": p.job, "logId": "14",
		"type": "t", "name": "n", "project": p.scope, "buildId": "501", "containerId": "77501", "itemPath": "a/b", "taskId": p.job, "versionString": "1.0.0", "releaseId": "1",
	}
	wrong := []string{"", "0", "-1", "99999999999999999999", "%00", "..", "%2e%2e%2f", "x", "00000000-0000-0000-0000-000000000000", strings.Repeat("9", 3000)}
	bodies := []string{"", "null", "{", "[]", "0", `""`, `{"count":1,"value":[null]}`, `{"count":-1,"value":[{"id":"x"}]}`, `{"agent":null,"id":null}`, `{"name":{}}`, "\xff"}
	check := func(method, path, body string, who header) {
		t.Helper()
		a, err := p.try(t.Context(), method, path, body, who)
		if err != nil {
			return // the client itself refuses the path
		}
		if a.status >= 500 {
			t.Errorf("%s %.200s with %q = %d %s", method, path, body, a.status, a.body)
		}
	}
	for _, route := range emulator.Routes() {
		names := placeholder.FindAllStringSubmatch(route.Path, -1)
		fill := func(bad, value string) string {
			return placeholder.ReplaceAllStringFunc(route.Path, func(text string) string {
				if name := strings.Trim(text, "{}*"); name != bad {
					return right[name]
				}
				return value
			})
		}
		for _, method := range route.Methods {
			for _, who := range []header{p.pat(), bearer(p.agentToken), bearer(p.jobToken), bearer("x"), {"Authorization", "Digest"}} {
				if method == "DELETE" && who == p.pat() || strings.HasSuffix(route.Path, "/events") || strings.Contains(route.Path, "sessionId") && method == "DELETE" {
					continue // would end what the other calls need
				}
				for _, body := range bodies {
					check(method, fill("", ""), body, who)
				}
				for _, name := range names {
					for _, value := range wrong {
						check(method, fill(name[1], value), "{}", who)
					}
				}
			}
		}
	}
	p.mustRenew()
}

// Bodies are bounded, for control calls as for the protocol's.
func TestHugeBodiesAreRefused(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.LockDuration = time.Minute })
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	huge := strings.Repeat(" ", emulator.MaxJSON+1)
	for _, kind := range []string{"application/json", "application/yaml"} {
		p.want(413, "POST", control, huge, header{"Content-Type", kind})
	}
	p.want(413, "POST", pool+"/agents", huge, p.pat())
	p.want(413, "PATCH", p.recordsPath(), huge, bearer(p.jobToken))
	p.want(400, "POST", "/_apis/oauth2/token", "grant_type="+huge, header{"Content-Type", "application/x-www-form-urlencoded"})
	p.want(400, "POST", control, "steps: "+strings.Repeat("[", 1<<18), header{"Content-Type", "application/yaml"})
	p.mustRenew()
}

// A key with which no session key can be encrypted is refused when it is registered.
func TestUnusableKeysAreRefused(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	odd := keys()[0]
	for name, k := range map[string]*rsa.PublicKey{
		"short":         {N: big.NewInt(1).Lsh(big.NewInt(1), 1000), E: 65537},
		"huge":          {N: new(big.Int).SetBit(new(big.Int).Lsh(big.NewInt(1), 100_000), 0, 1), E: 65537},
		"even modulus":  {N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537},
		"even exponent": {N: odd.N, E: 65536},
		"exponent one":  {N: odd.N, E: 1},
	} {
		body := p.registration()
		body["name"] = name
		body["authorization"] = map[string]any{"publicKey": map[string]string{
			"modulus": base64.StdEncoding.EncodeToString(k.N.Bytes()), "exponent": base64.StdEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
		}}
		if a := p.do("POST", pool+"/agents", body, p.pat()); a.status != 400 {
			t.Errorf("registering a key with %s = %d %.200s, want 400", name, a.status, a.body)
		}
	}
}

// §7.6: a page whose call broke off is sent again; its lines must not be there twice.
func TestABodyThatEndsEarlyLeavesNothing(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.LockDuration = time.Minute })
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	p.running()
	step := p.stepIDs()[0]
	p.mustPatch(p.step(step, "inProgress", ""))
	var l struct{ Location string }
	p.want(200, "POST", p.planURL+"/logs", map[string]any{"path": `logs\` + step}, bearer(p.jobToken)).into(t, &l)
	to, err := url.Parse(l.Location)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", to.Host)
	if err != nil {
		t.Fatal(err)
	}
	const line = "2026-08-22T09:11:07.4021930Z first\n"
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000\r\n\r\n%s",
		to.Path, to.Host, p.jobToken, line)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil { //nolint:forcetypeassert // the test may panic
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(conn); !bytes.Contains(answer, []byte("400 Bad Request")) {
		t.Errorf("answer = %.200s, want 400", answer)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	p.want(200, "POST", l.Location, []byte(line), bearer(p.jobToken))
	var got []string
	p.mustPatch(p.step(step, "completed", "succeeded"))
	report, err := srv.Report(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Records {
		got = append(got, r.Log...)
	}
	if diff := cmp.Diff([]string{"first"}, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// Calls of many agents, jobs and observers at once: the race detector watches.
func TestCallsMayComeAllAtOnce(t *testing.T) {
	const agents, jobsEach = 4, 3
	srv := emulatortest.New(t, func(c *emulator.Config) { c.LockDuration, c.SessionExpiry = time.Minute, time.Minute })
	stop := make(chan struct{})
	var workers, watchers sync.WaitGroup
	for i := range agents {
		p := online(t, srv, fmt.Sprint("agent-", i))
		for range jobsEach {
			srv.Queue(emulatortest.Script("true"), "Agent.Name -equals "+p.name)
		}
		workers.Go(func() {
			for range jobsEach {
				p.take()
				p.mustRenew()
				p.putFile("drop/a.txt", "text")
				p.runWhole("succeeded")
			}
		})
	}
	watcher := newPeer(t, srv, "watcher")
	for _, path := range []string{control, pool + "/jobrequests", pool + "/agents?includeAssignedRequest=true", "/_apis/resources/Containers/77501"} {
		watchers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := watcher.try(t.Context(), http.MethodGet, path, nil, watcher.pat(), header{"Accept", "application/octet-stream"})
				if err != nil || a.status >= 500 {
					t.Errorf("GET %s = %d %s, %v", path, a.status, a.body, err)
					return
				}
				for _, st := range srv.Jobs() {
					if _, err := srv.Report(st.ID); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	watchers.Wait()
	for _, st := range srv.Jobs() {
		if st.Result != "succeeded" || len(st.Violations) > 0 {
			t.Errorf("job %s of %s is %s, %+v", st.ID, st.Agent, st.Result, st.Violations)
		}
	}
}

// putFile uploads a file in two chunks (§9.1), each twice at once: one of the two is taken.
func (p *peer) putFile(name, text string) {
	p.t.Helper()
	build := p.message["variables"].(map[string]any)["build.buildId"].(map[string]any)["value"] //nolint:forcetypeassert // the test may panic
	path := fmt.Sprintf("/_apis/resources/Containers/77%s?itemPath=%s&scope=%s", build, url.QueryEscape(name), p.scope)
	for i, part := range []string{text[:2], text[2:]} {
		contentRange := header{"Content-Range", fmt.Sprintf("bytes %d-%d/%d", 2*i, 2*i+1, len(text))}
		statuses := make(chan int, 2)
		for range cap(statuses) {
			go func() {
				a, err := p.try(p.t.Context(), http.MethodPut, path, []byte(part), bearer(p.jobToken), contentRange)
				if err != nil {
					p.t.Error(err)
				}
				statuses <- a.status
			}()
		}
		for range cap(statuses) {
			if status := <-statuses; status >= 500 || i == 1 && status == http.StatusAccepted {
				p.t.Errorf("uploading chunk %d of %s = %d", i, name, status)
			}
		}
	}
	if a := p.want(200, "GET", path, nil, bearer(p.jobToken), header{"Accept", "application/octet-stream"}); string(a.body) != text {
		p.t.Errorf("the file %s is %q, want %q", name, a.body, text)
	}
}
