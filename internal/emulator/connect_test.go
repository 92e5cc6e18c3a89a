package emulator_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
)

// S1 with the ids and routes of Appendix A, copied from there and not from the
// table they test.
func TestS1LocationsAreAnnouncedAsInAppendixA(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	a := p.want(200, "OPTIONS", "/_apis/", nil)
	if got := a.header.Get("Content-Length"); got == "" || a.header.Get("Content-Encoding") != "" {
		t.Errorf("Content-Length = %q, Content-Encoding = %q, want a length and no compression (Appendix D)", got, a.header.Get("Content-Encoding"))
	}
	var out struct {
		Count int
		Value []struct {
			ID, Area, RouteTemplate                 string
			ResourceVersion                         int
			MinVersion, MaxVersion, ReleasedVersion string
		}
	}
	a.into(t, &out)
	got := make(map[string]string)
	for _, l := range out.Value {
		got[l.ID] = l.RouteTemplate
		if l.ResourceVersion == 0 || l.MinVersion == "" || l.MaxVersion == "" || l.ReleasedVersion == "" {
			t.Errorf("location %s lacks a version: %+v", l.ID, l)
		}
	}
	plan := "{scopeIdentifier}/_apis/distributedtask/hubs/{hubName}/plans/{planId}"
	want := map[string]string{
		"a8c47e17-4d56-4a56-92bb-de7ea7dc65be": "_apis/distributedtask/pools/{poolId}",
		"e298ef32-5878-4cab-993c-043836571f42": "_apis/distributedtask/pools/{poolId}/agents/{agentId}",
		"134e239e-2df3-4794-a6f6-24f1f19ec8dc": "_apis/distributedtask/pools/{poolId}/sessions/{sessionId}",
		"c3a054f6-7a8a-49c0-944e-3a8e5d7adfd7": "_apis/distributedtask/pools/{poolId}/messages/{messageId}",
		"fc825784-c92a-4299-9221-998a02d1b54f": "_apis/distributedtask/pools/{poolId}/jobrequests/{requestId}",
		"8cc1b02b-ae49-4516-b5ad-4f9b29967c30": "_apis/distributedtask/pools/{poolId}/agents/{agentId}/updates",
		"30ba3ada-fedf-4da8-bbb5-dacf2f82e176": "_apis/distributedtask/pools/{poolId}/agents/{agentId}/usercapabilities",
		"8ffcd551-079c-493a-9c02-54346299d144": "_apis/distributedtask/packages/{packageType}/{platform}/{version}",
		"60aac929-f0cd-4bc8-9ce4-6b30e8f1b1bd": "_apis/distributedtask/tasks/{taskId}/{versionString}",
		"5cecd946-d704-471e-a45f-3b4064fcfaba": plan,
		"557624af-b29e-4c20-8ab0-0399d2204f3f": plan + "/events",
		"46f5667d-263a-4684-91b1-dff7fdcf64e2": plan + "/logs/{logId}",
		"83597576-cc2c-453c-bea6-2882ae6a1653": plan + "/timelines/{timelineId}",
		"8893bc5b-35b2-4be7-83cb-99e683551db4": plan + "/timelines/{timelineId}/records",
		"858983e4-19bd-4c5e-864c-507b59b58b12": plan + "/timelines/{timelineId}/records/{recordId}/feed",
		"7898f959-9cdf-4096-b29e-7f293031629e": plan + "/timelines/{timelineId}/records/{recordId}/attachments/{type}/{name}",
		"eb55e5d6-2f30-4295-b5ed-38da50b1fc52": plan + "/attachments/{type}",
		"00d9565f-ed9c-4a06-9a50-00e7896ccab4": "_apis/connectionData",
		"e81700f7-3be2-46de-8624-2eb35882fcaa": "_apis/resourceAreas/{areaId}",
		"e4f5c81e-e250-447b-9fef-bd48471bea5e": "_apis/resources/Containers/{containerId}/{*itemPath}",
		"1db06c96-014e-44e1-ac91-90b2d4b3e984": "{project}/_apis/build/builds/{buildId}/artifacts/{artifactName}",
		"0cd358e1-9217-4d94-8269-1c1ee6f93dcf": "{project}/_apis/build/builds/{buildId}",
		"6e6114b2-8161-44c8-8f6c-c5505782427f": "{project}/_apis/build/builds/{buildId}/tags/{*tag}",
		"cadb3810-d47d-4a3c-a234-fe5f3be50138": "{project}/_apis/test/Runs/{runId}",
		"4637d869-3a76-4468-8057-0bb02aa385cf": "{project}/_apis/test/Runs/{runId}/Results/{testCaseResultId}",
		"2bffebe9-2f0f-4639-9af8-56129e9fed2d": "{project}/_apis/test/Runs/{runId}/Results/{testCaseResultId}/Attachments/{attachmentId}",
		"4f004af4-a507-489c-9b13-cb62060beb11": "{project}/_apis/test/Runs/{runId}/Attachments/{attachmentId}",
		"0a42c424-d764-4a16-a2d5-5c85f87d0ae8": "{project}/_apis/test/Runs/{runId}/Statistics",
		"77560e8a-4e8c-4d59-894e-a5f264c24444": "{project}/_apis/test/CodeCoverage",
		"a166fde7-27ad-408e-ba75-703c2cc9d500": "{project}/_apis/Release/releases/{releaseId}",
	}
	if diff := cmp.Diff(want, got); diff != "" || out.Count != len(out.Value) {
		t.Errorf("locations (-want +got):\n%s", diff)
	}
}

// S2: connectionData with Basic and with Bearer. §1.6: a missing or expired
// token is a 401 with a challenge that contains Bearer.
func TestS2OnlyAValidCredentialConnects(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	p.register()
	p.token()
	const path = "/_apis/connectionData?connectOptions=0&lastChangeId=-1&lastChangeId64=-1"
	for _, h := range []header{p.pat(), bearer(p.agentToken)} {
		var out struct {
			InstanceID, DeploymentType string
			AuthenticatedUser          struct{ ID string }
		}
		p.want(200, "GET", path, nil, h).into(t, &out)
		if out.InstanceID == "" || out.DeploymentType != "hosted" || out.AuthenticatedUser.ID == "" {
			t.Errorf("connection data = %+v", out)
		}
	}
	for name, headers := range map[string][]header{
		"nothing": nil, "a wrong PAT": {basic("wrong")}, "no token of ours": {bearer("a.b.c")}, "another scheme": {{"Authorization", "Digest x"}},
	} {
		a := p.do("GET", path, nil, headers...)
		if a.status != 401 || !strings.Contains(strings.Join(a.header.Values("WWW-Authenticate"), ","), "Bearer") || a.key() == "" || strings.Contains(string(a.body), "wrong\"") {
			t.Errorf("with %s = %d %v %s, want 401, a Bearer challenge and an explanation", name, a.status, a.header.Values("WWW-Authenticate"), a.body)
		}
	}
}

func TestNothingLivesOnAnotherHost(t *testing.T) {
	p := newPeer(t, emulatortest.New(t), "a")
	// §1.4: an empty list means the collection URL.
	if got, want := string(p.want(200, "GET", "/_apis/resourceAreas", nil, p.pat()).body), `{"count":0,"value":[]}`+"\n"; got != want {
		t.Errorf("resource areas = %s, want %s", got, want)
	}
}

// §0.3: never mix the credentials.
func TestEachCredentialOpensOnlyItsOwnResources(t *testing.T) {
	srv := emulatortest.New(t)
	srv.Queue(emulatortest.Script("true"))
	p := online(t, srv, "a")
	p.running()
	agent, jobToken, pat := bearer(p.agentToken), bearer(p.jobToken), p.pat()
	for _, c := range []struct {
		name, method, path string
		who                header
		status             int
		key                string
	}{
		{"a job request with the job token", "PATCH", p.renewPath(), jobToken, 403, "AccessDeniedException"},
		{"a poll with the job token", "GET", p.pollPath(), jobToken, 403, "AccessDeniedException"},
		{"a session with the PAT", "POST", pool + "/sessions", pat, 403, "AccessDeniedException"},
		{"a registration with the agent token (§2.9)", "POST", pool + "/agents", agent, 403, "AccessDeniedException"},
		{"a removal with the agent token (§2.9)", "DELETE", pool + "/agents/87", agent, 403, "AccessDeniedException"},
		{"records with the agent token", "PATCH", p.recordsPath(), agent, 403, "TaskOrchestrationPlanSecurityException"},
		{"an event with the PAT", "POST", p.planURL + "/events", pat, 403, "TaskOrchestrationPlanSecurityException"},
		{"an unknown plan", "GET", strings.Replace(p.planURL, p.plan, "11111111-1111-4111-8111-111111111111", 1), jobToken, 404, "TaskOrchestrationPlanNotFoundException"},
		{"another project", "GET", strings.Replace(p.planURL, p.scope, "11111111-1111-4111-8111-111111111111", 1), jobToken, 404, "TaskOrchestrationPlanNotFoundException"},
		{"another hub", "GET", strings.Replace(p.planURL, "/Build/", "/Release/", 1), jobToken, 404, "TaskOrchestrationPlanNotFoundException"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := *p
			p.t = t
			p.refused(c.status, c.key, c.method, c.path, map[string]any{"requestId": p.request}, c.who)
		})
	}
	// §7: the hub name compares ignoring case.
	p.want(200, "GET", strings.Replace(p.planURL, "/Build/", "/build/", 1), nil, jobToken)

	other := online(t, srv, "b")
	srv.Queue(emulatortest.Script("true"))
	other.running()
	p.refused(403, "TaskOrchestrationPlanSecurityException", "GET", other.planURL, nil, jobToken)
}

// S3, each row with the words of §3.
func TestS3AnAssertionIsVerified(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	p.register()
	now := time.Now()
	for _, c := range []struct {
		name, says string
		change     func(jwt.MapClaims)
		ok         bool
	}{
		{name: "valid", ok: true, change: func(jwt.MapClaims) {}},
		{name: "back-dated by 30 s (§3.1)", ok: true, change: func(c jwt.MapClaims) { c["nbf"] = now.Add(-29 * time.Second).Unix() }},
		{name: "another audience", says: "audience", change: func(c jwt.MapClaims) { c["aud"] = p.audience + "/" }},
		{name: "two audiences", says: "audience", change: func(c jwt.MapClaims) { c["aud"] = []string{p.audience, "x"} }},
		{name: "an unknown client", says: "not registered", change: func(c jwt.MapClaims) { c["iss"], c["sub"] = "x", "x" }},
		{name: "sub is not iss", says: "sub", change: func(c jwt.MapClaims) { c["sub"] = "x" }},
		{name: "no jti", says: "jti", change: func(c jwt.MapClaims) { delete(c, "jti") }},
		{name: "no nbf", says: "nbf", change: func(c jwt.MapClaims) { delete(c, "nbf") }},
		{name: "too long", says: "five minutes", change: func(c jwt.MapClaims) { c["exp"] = now.Add(time.Hour).Unix() }},
		{name: "expired (§3.4)", says: "Current server time is ", change: func(c jwt.MapClaims) {
			c["nbf"], c["exp"] = now.Add(-10*time.Minute).Unix(), now.Add(-5*time.Minute).Unix()
		}},
		{name: "not yet valid (§3.4)", says: "Current server time is ", change: func(c jwt.MapClaims) {
			c["nbf"], c["exp"] = now.Add(10*time.Minute).Unix(), now.Add(15*time.Minute).Unix()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := *p
			p.t = t
			claims := p.assertion()
			c.change(claims)
			checkGrant(t, p.exchange(p.sign(claims)), c.ok, c.says)
		})
	}
	t.Run("used twice", func(t *testing.T) {
		once := p.sign(p.assertion())
		checkGrant(t, p.exchange(once), true, "")
		checkGrant(t, p.exchange(once), false, "used before")
	})
	t.Run("signed with another key", func(t *testing.T) {
		text, err := jwt.NewWithClaims(jwt.SigningMethodRS256, p.assertion()).SignedString(keys()[1])
		if err != nil {
			t.Fatal(err)
		}
		checkGrant(t, p.exchange(text), false, "signature")
	})
	t.Run("signed with PS256 (§3.1)", func(t *testing.T) {
		text, err := jwt.NewWithClaims(jwt.SigningMethodPS256, p.assertion()).SignedString(p.key)
		if err != nil {
			t.Fatal(err)
		}
		checkGrant(t, p.exchange(text), false, "")
	})
	t.Run("not signed", func(t *testing.T) {
		text, err := jwt.NewWithClaims(jwt.SigningMethodNone, p.assertion()).SignedString(jwt.UnsafeAllowNoneSignatureType)
		if err != nil {
			t.Fatal(err)
		}
		checkGrant(t, p.exchange(text), false, "")
	})
	t.Run("another grant", func(t *testing.T) {
		a := p.do("POST", p.audience, "grant_type=password", header{"Content-Type", "application/x-www-form-urlencoded"})
		checkGrant(t, a, false, "client_credentials")
	})
}

func checkGrant(t *testing.T, a answerOf, ok bool, says string) {
	t.Helper()
	var out struct {
		AccessToken      string `json:"access_token"`
		ExpiresIn        int    `json:"expires_in"`
		Error            string
		Errordescription string
	}
	a.into(t, &out)
	switch {
	case ok && (a.status != 200 || out.AccessToken == "" || out.ExpiresIn <= 0):
		t.Errorf("token request = %d %s, want a token", a.status, a.body)
	case !ok && (a.status != 400 || out.Error != "invalid_client" || !strings.Contains(out.Errordescription, says)):
		t.Errorf("token request = %d %s, want 400 invalid_client that says %q", a.status, a.body, says)
	}
}

// §3.3: the service answers 401 with a Bearer challenge once a token is too old.
func TestAnAgentTokenExpires(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.TokenLifetime = time.Second })
	p := newPeer(t, srv, "a")
	p.register()
	p.token()
	deadline := time.Now().Add(5 * time.Second)
	for p.do("GET", "/_apis/connectionData", nil, bearer(p.agentToken)).status != 401 {
		if time.Now().After(deadline) {
			t.Fatal("the token is still valid after 5s")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// §2.2 and A5: the key is two unsigned big-endian numbers of at least 2048 bits.
func TestARegistrationIsVerified(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	padded := base64.StdEncoding.EncodeToString(append([]byte{0}, p.key.N.Bytes()...))
	short := base64.StdEncoding.EncodeToString(p.key.N.Bytes()[:128])
	for name, change := range map[string]func(map[string]any){
		"no authorization": func(r map[string]any) { delete(r, "authorization") },
		"sign padding": func(r map[string]any) {
			r["authorization"] = map[string]any{"publicKey": map[string]string{"exponent": "AQAB", "modulus": padded}}
		},
		"1024 bits": func(r map[string]any) {
			r["authorization"] = map[string]any{"publicKey": map[string]string{"exponent": "AQAB", "modulus": short}}
		},
		"no name": func(r map[string]any) { delete(r, "name") },
	} {
		body := p.registration()
		change(body)
		if a := p.do("POST", pool+"/agents", body, p.pat()); a.status != 400 {
			t.Errorf("registration with %s = %d %s, want 400", name, a.status, a.body)
		}
	}
	p.register()
	again := p.registration()
	again["name"] = "A" // §2.4: unique per pool, case-insensitive
	p.refused(409, "TaskAgentExistsException", "POST", pool+"/agents", again, p.pat())
	p.refused(404, "TaskAgentPoolNotFoundException", "POST", "/_apis/distributedtask/pools/99/agents", p.registration(), p.pat())
	p.refused(404, "TaskAgentNotFoundException", "GET", pool+"/agents/9999", nil, p.pat())
}

// §2.1: an unknown pool is an empty list.
func TestPoolsAreFoundByName(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.Pools = []string{"Default", "linux-build"} })
	p := newPeer(t, srv, "a")
	for query, want := range map[string]int{"?poolName=LINUX-build&poolType=automation": 1, "?poolName=nope": 0, "": 2, "?poolID=13": 1, "?poolName=Default&poolType=deployment": 0} {
		var out struct {
			Count int
			Value []struct {
				ID       int
				Name     string
				IsHosted *bool
			}
		}
		p.want(200, "GET", "/_apis/distributedtask/pools"+query, nil, p.pat()).into(t, &out)
		if out.Count != want || len(out.Value) != want {
			t.Errorf("pools%s = %+v, want %d", query, out, want)
		}
	}
}

// §2.6: replacing rotates the key, so a still-running old process fails its next
// token request; its client id is gone too (A6).
func TestReplacingAnAgentRevokesTheOldKey(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	p.register()
	var found struct{ Value []map[string]any }
	p.want(200, "GET", pool+"/agents?agentName=A&includeCapabilities=false", nil, p.pat()).into(t, &found)
	if len(found.Value) != 1 || found.Value[0]["systemCapabilities"] != nil {
		t.Fatalf("agents named A = %+v, want one without capabilities", found.Value)
	}
	fresh := *p
	fresh.key = keys()[1]
	body := found.Value[0]
	body["authorization"] = map[string]any{"publicKey": publicKey(fresh.key)}
	fresh.takeRegistration(p.want(200, "PUT", pool+"/agents/87", body, p.pat()))
	if fresh.agentID != p.agentID {
		t.Errorf("agent id = %d after replacement, want %d", fresh.agentID, p.agentID)
	}
	checkGrant(t, p.exchange(p.sign(p.assertion())), false, "")
	fresh.token()
	fresh.open()
}

// §2.9, §1.8: once the registration is removed, sessions and messages say so,
// and no further token is given.
func TestARemovedAgentIsToldSo(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	polled := make(chan answerOf, 1)
	go func() {
		a, err := p.try(t.Context(), "GET", p.pollPath(), nil, bearer(p.agentToken))
		if err != nil {
			t.Error(err)
		}
		polled <- a
	}()
	p.want(204, "DELETE", pool+"/agents/87", nil, p.pat())
	if a := <-polled; a.key() != "TaskAgentAccessTokenExpiredException" {
		t.Errorf("the poll was answered %d %s, want TaskAgentAccessTokenExpiredException", a.status, a.body)
	}
	p.refused(403, "TaskAgentAccessTokenExpiredException", "POST", pool+"/sessions", p.sessionBody(), bearer(p.agentToken))
	checkGrant(t, p.exchange(p.sign(p.assertion())), false, "not registered")
}

// §2.9, §10.5.
func TestOnlyAnAgentThatSatisfiesTheDemandsGetsTheJob(t *testing.T) {
	for demand, want := range map[string]bool{
		"docker": true, "DOCKER": true, "java": false, "Agent.OS -equals LINUX": true, "Agent.OS -equals Darwin": false,
		"Agent.Version -gtVersion 2.144.0": true, "Agent.Version -gtVersion 4.259.0": true, "Agent.Version -gtVersion 4.259.1": false,
		"docker -exists yes": false, "gpu -equals orin": false,
	} {
		t.Run(demand, func(t *testing.T) {
			srv := emulatortest.New(t)
			p := online(t, srv, "a")
			id := srv.Queue(emulatortest.Script("true"), demand)
			st, err := srv.Job(id)
			if got := st.State == emulator.Assigned; err != nil || got != want {
				t.Fatalf("state with demand %q = %s (%v), want assigned: %v", demand, st.State, err, want)
			}
			if want {
				return
			}
			// §10.5: user capabilities extend system capabilities; a disabled agent gets nothing.
			p.want(200, "PATCH", pool+"/agents/87", map[string]any{"id": 87, "enabled": false}, p.pat())
			p.want(200, "PUT", pool+"/agents/87/usercapabilities", map[string]string{"java": "21", "GPU": "Orin"}, p.pat())
			p.want(200, "PATCH", pool+"/agents/87", map[string]any{"id": 87, "enabled": true}, p.pat())
			st, _ = srv.Job(id)
			if got, want := st.State == emulator.Assigned, demand == "java" || strings.HasPrefix(demand, "gpu"); got != want {
				t.Errorf("state with user capabilities = %s, want assigned: %v", st.State, want)
			}
		})
	}
}

func TestAClosedServerRefusesCalls(t *testing.T) {
	srv := emulatortest.New(t)
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, srv, "a")
	p.want(503, "GET", "/_apis/connectionData", nil, p.pat())
}

func TestSettingsAreReportedTogether(t *testing.T) {
	err := emulator.Config{Pools: []string{"a", "a"}}.Validate()
	for _, want := range []string{"named twice", "personal access token", "lock duration", "session expiry", "cancel timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want it to name %q", err, want)
		}
	}
}
