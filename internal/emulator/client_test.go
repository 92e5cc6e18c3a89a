package emulator_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer speaks the wire with net/http alone, written from the document: no code
// of our client takes part in these tests.
type peer struct {
	t    testing.TB
	srv  *emulatortest.Server
	http *http.Client

	key                        *rsa.PrivateKey
	agentID                    int
	name, clientID, audience   string
	agentToken, session, scope string
	aes                        []byte
	last                       int64

	message                      map[string]any
	jobToken                     string
	request                      int64
	plan, timeline, job, planURL string
}

// answerOf is a response that was read whole.
type answerOf struct {
	status int
	header http.Header
	body   []byte
}

// key returns the error's typeKey.
func (a answerOf) key() string {
	var e struct{ TypeKey string }
	_ = json.Unmarshal(a.body, &e)
	return e.TypeKey
}

func (a answerOf) into(t testing.TB, to any) {
	t.Helper()
	if err := json.Unmarshal(a.body, to); err != nil {
		t.Fatalf("reading the answer %d %s: %v", a.status, a.body, err)
	}
}

// keys are made once: a 2048-bit key takes a while under the race detector.
var keys = sync.OnceValue(func() []*rsa.PrivateKey {
	var out []*rsa.PrivateKey
	for range 2 {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err) // the system has no randomness
		}
		out = append(out, k)
	}
	return out
})

func newPeer(t testing.TB, srv *emulatortest.Server, name string) *peer {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &peer{t: t, srv: srv, name: name, key: keys()[0], http: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
}

type header struct{ name, value string }

func basic(password string) header {
	return header{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("VstsAgent:"+password))}
}

func bearer(token string) header { return header{"Authorization", "Bearer " + token} }

func (p *peer) pat() header { return basic(p.srv.PAT.Reveal()) }

// do sends body as JSON, or as it is when it is []byte.
func (p *peer) do(method, path string, body any, headers ...header) answerOf {
	p.t.Helper()
	a, err := p.try(p.t.Context(), method, path, body, headers...)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *peer) try(ctx context.Context, method, path string, body any, headers ...header) (answerOf, error) {
	var in io.Reader
	contentType := "application/json; charset=utf-8"
	switch b := body.(type) {
	case nil:
	case []byte:
		in, contentType = bytes.NewReader(b), "application/octet-stream"
	case string:
		in = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answerOf{}, err
		}
		in = bytes.NewReader(text)
	}
	if !strings.HasPrefix(path, "http") {
		path = p.srv.URL + path
	}
	req, err := http.NewRequestWithContext(ctx, method, path, in)
	if err != nil {
		return answerOf{}, err
	}
	if in != nil {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "application/json; api-version=5.1-preview.1")
	for _, h := range headers {
		req.Header.Set(h.name, h.value)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return answerOf{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return answerOf{resp.StatusCode, resp.Header, text}, err
}

// want sends a call that must be answered with status.
func (p *peer) want(status int, method, path string, body any, headers ...header) answerOf {
	p.t.Helper()
	a := p.do(method, path, body, headers...)
	if a.status != status {
		p.t.Fatalf("%s %s = %d %s, want %d", method, path, a.status, a.body, status)
	}
	return a
}

// refused sends a call that must be refused with status and key.
func (p *peer) refused(status int, key, method, path string, body any, headers ...header) {
	p.t.Helper()
	a := p.do(method, path, body, headers...)
	if a.status != status || a.key() != key {
		p.t.Errorf("%s %s = %d %s, want %d %s", method, path, a.status, a.body, status, key)
	}
}

func publicKey(k *rsa.PrivateKey) map[string]string {
	return map[string]string{
		"exponent": base64.StdEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
		"modulus":  base64.StdEncoding.EncodeToString(k.N.Bytes()),
	}
}

const pool = "/_apis/distributedtask/pools/12"

func (p *peer) registration() map[string]any {
	return map[string]any{
		"name": p.name, "version": "4.259.0", "osDescription": "Linux", "maxParallelism": 1, "provisioningState": "Provisioned",
		"authorization":      map[string]any{"publicKey": publicKey(p.key)},
		"systemCapabilities": map[string]string{"Agent.Name": p.name, "Agent.OS": "Linux", "docker": "/usr/bin/docker"},
	}
}

// register is §2.5, token §3.2, open §4.1.
func (p *peer) register() {
	p.t.Helper()
	p.takeRegistration(p.want(200, "POST", pool+"/agents", p.registration(), p.pat()))
}

func (p *peer) takeRegistration(a answerOf) {
	p.t.Helper()
	var out struct {
		ID            int
		Authorization struct{ ClientID, AuthorizationURL string }
	}
	a.into(p.t, &out)
	p.agentID, p.clientID, p.audience = out.ID, out.Authorization.ClientID, out.Authorization.AuthorizationURL
}

// assertion returns the claims of §3.1 for now.
func (p *peer) assertion() jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{
		"iss": p.clientID, "sub": p.clientID, "aud": p.audience, "jti": uuid.NewString(),
		"nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
}

func (p *peer) exchange(assertion string) answerOf {
	p.t.Helper()
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}
	return p.do("POST", p.audience, form.Encode(), header{"Content-Type", "application/x-www-form-urlencoded"})
}

func (p *peer) sign(claims jwt.MapClaims) string {
	p.t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

func (p *peer) token() {
	p.t.Helper()
	a := p.exchange(p.sign(p.assertion()))
	if a.status != 200 {
		p.t.Fatalf("token = %d %s", a.status, a.body)
	}
	var out struct {
		Token string `json:"access_token"`
	}
	a.into(p.t, &out)
	p.agentToken = out.Token
}

func (p *peer) sessionBody() map[string]any {
	return map[string]any{
		"sessionId": uuid.Nil, "ownerName": "host-7", "agent": map[string]any{"id": p.agentID, "name": p.name, "version": "4.259.0"},
		"systemCapabilities": map[string]string{"Agent.Name": p.name, "Agent.OS": "Linux", "docker": "/usr/bin/docker", "Agent.Version": "4.259.0"},
	}
}

func (p *peer) open() {
	p.t.Helper()
	a := p.want(200, "POST", pool+"/sessions", p.sessionBody(), bearer(p.agentToken))
	var out struct {
		SessionID     string
		EncryptionKey *struct {
			Encrypted bool
			Value     []byte
		}
	}
	a.into(p.t, &out)
	p.session, p.aes = out.SessionID, nil
	if out.EncryptionKey == nil {
		return
	}
	if !out.EncryptionKey.Encrypted {
		p.t.Fatal("the session key travels in the clear though the agent has a public key (S5)")
	}
	key, err := rsa.DecryptOAEP(sha1.New(), nil, p.key, out.EncryptionKey.Value, nil) // §4.1
	if err != nil {
		p.t.Fatalf("decrypting the session key: %v", err)
	}
	p.aes = key
}

type envelope struct {
	MessageID   int64
	MessageType string
	IV          []byte
	Body        string
}

func (p *peer) pollPath() string {
	path := pool + "/messages?sessionId=" + p.session
	if p.last != 0 {
		path += fmt.Sprintf("&lastMessageId=%d", p.last)
	}
	return path
}

// poll returns the next message with its body readable, nil for none.
func (p *peer) poll() *envelope {
	p.t.Helper()
	a := p.do("GET", p.pollPath(), nil, bearer(p.agentToken))
	switch {
	case a.status == 204 || a.status == 200 && len(a.body) == 0:
		return nil
	case a.status != 200:
		p.t.Fatalf("poll = %d %s", a.status, a.body)
	}
	var m envelope
	a.into(p.t, &m)
	if p.aes != nil {
		m.Body = p.decrypt(m)
	}
	return &m
}

// decrypt is §5.2.
func (p *peer) decrypt(m envelope) string {
	p.t.Helper()
	block, err := aes.NewCipher(p.aes)
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := base64.StdEncoding.DecodeString(m.Body)
	if err != nil || len(text)%16 != 0 || len(m.IV) != 16 {
		p.t.Fatalf("message body is no AES-CBC text: %v", err)
	}
	cipher.NewCBCDecrypter(block, m.IV).CryptBlocks(text, text)
	return string(text[:len(text)-int(text[len(text)-1])])
}

func (p *peer) deleteMessage(id int64) answerOf {
	p.t.Helper()
	return p.do("DELETE", fmt.Sprintf("%s/messages/%d?sessionId=%s", pool, id, p.session), nil, bearer(p.agentToken))
}

// online registers, gets a token and opens a session.
func online(t testing.TB, srv *emulatortest.Server, name string) *peer {
	t.Helper()
	p := newPeer(t, srv, name)
	p.register()
	p.token()
	p.open()
	return p
}

// taken is an agent that has a job and has not renewed its lock yet.
func taken(t *testing.T) (*emulatortest.Server, *peer, job.ID) {
	t.Helper()
	srv := emulatortest.New(t, func(c *emulator.Config) {
		c.LockDuration, c.SessionExpiry, c.PollHold = time.Minute, time.Minute, 50*time.Millisecond
	})
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	p.take()
	return srv, p, id
}

// take polls for a job message, remembers its ids and deletes it.
func (p *peer) take() {
	p.t.Helper()
	m := p.poll()
	if m == nil || m.MessageType != "PipelineAgentJobRequest" {
		p.t.Fatalf("polled %+v, want a job", m)
	}
	p.last = m.MessageID
	p.read(m)
	if a := p.deleteMessage(m.MessageID); a.status >= 300 {
		p.t.Fatalf("deleting the message = %d %s", a.status, a.body)
	}
}

func (p *peer) read(m *envelope) {
	p.t.Helper()
	parsed, err := job.Decode([]byte(m.Body))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(m.Body), &p.message); err != nil {
		p.t.Fatal(err)
	}
	_, p.jobToken = parsed.JobToken()
	p.request, p.plan, p.timeline, p.job = int64(parsed.RequestID), string(parsed.Plan.PlanID), string(parsed.Timeline.ID), string(parsed.JobID)
	p.scope = parsed.Plan.ScopeIdentifier
	p.planURL = "/" + p.scope + "/_apis/distributedtask/hubs/" + parsed.Plan.PlanType + "/plans/" + p.plan
}

func (p *peer) renewPath() string {
	return fmt.Sprintf("%s/jobrequests/%d?lockToken=%s", pool, p.request, uuid.Nil)
}

func (p *peer) renew() answerOf {
	p.t.Helper()
	return p.do("PATCH", p.renewPath(), map[string]any{"requestId": p.request}, bearer(p.agentToken))
}

func (p *peer) mustRenew() {
	p.t.Helper()
	if a := p.renew(); a.status != 200 {
		p.t.Fatalf("renewal = %d %s", a.status, a.body)
	}
}

func (p *peer) recordsPath() string { return p.planURL + "/timelines/" + p.timeline + "/records" }

// patch is §7.3.
func (p *peer) patch(records ...map[string]any) answerOf {
	p.t.Helper()
	return p.do("PATCH", p.recordsPath(), map[string]any{"count": len(records), "value": records}, bearer(p.jobToken))
}

func (p *peer) mustPatch(records ...map[string]any) {
	p.t.Helper()
	if a := p.patch(records...); a.status != 200 {
		p.t.Fatalf("records = %d %s", a.status, a.body)
	}
}

func (p *peer) jobRecord(state, result string) map[string]any {
	r := map[string]any{"id": p.job, "type": "Job", "name": "Job", "refName": "__default", "state": state}
	if result != "" {
		r["result"] = result
	}
	return r
}

func (p *peer) step(id, state, result string) map[string]any {
	r := map[string]any{"id": id, "parentId": p.job, "type": "Task", "name": "Step", "refName": "CmdLine", "order": 1, "state": state}
	if result != "" {
		r["result"] = result
	}
	return r
}

// upload is §7.6.
func (p *peer) upload(record, page string) map[string]any {
	p.t.Helper()
	a := p.want(200, "POST", p.planURL+"/logs", map[string]any{"path": `logs\` + record}, bearer(p.jobToken))
	var l struct {
		ID       int
		Location string
	}
	a.into(p.t, &l)
	p.want(200, "POST", l.Location, []byte(page), bearer(p.jobToken))
	return map[string]any{"id": l.ID, "location": l.Location}
}

func (p *peer) event(result string) map[string]any {
	return map[string]any{"name": "JobCompleted", "jobId": p.job, "requestId": p.request, "result": result, "agentShuttingDown": false}
}

func (p *peer) complete(result string) answerOf {
	p.t.Helper()
	return p.do("POST", p.planURL+"/events", p.event(result), bearer(p.jobToken))
}

// running takes the next job and starts it.
func (p *peer) running() {
	p.t.Helper()
	p.take()
	p.mustRenew()
	p.mustPatch(p.jobRecord("inProgress", ""))
}

// stepIDs returns the ids of the message's steps.
func (p *peer) stepIDs() []string {
	var out []string
	steps, _ := p.message["steps"].([]any)
	for _, s := range steps {
		m, _ := s.(map[string]any)
		id, _ := m["id"].(string)
		out = append(out, id)
	}
	return out
}

// pending announces every step, as §7.4 wants before the first one runs.
func (p *peer) pending() {
	p.t.Helper()
	var all []map[string]any
	for _, id := range p.stepIDs() {
		all = append(all, p.step(id, "pending", ""))
	}
	p.mustPatch(all...)
}

// runWhole runs the taken job as §12 does, with one log per step.
func (p *peer) runWhole(result string) {
	p.t.Helper()
	p.mustPatch(p.jobRecord("inProgress", ""))
	p.pending()
	for _, id := range p.stepIDs() {
		p.mustPatch(p.step(id, "inProgress", ""))
		log := p.upload(id, "2026-08-22T09:11:07.4021930Z ##[section]Starting: Step\n2026-08-22T09:11:07.5021930Z hello\n")
		done := p.step(id, "completed", result)
		done["log"] = log
		p.mustPatch(done)
	}
	p.mustPatch(p.jobRecord("completed", result))
	if a := p.complete(result); a.status >= 300 {
		p.t.Fatalf("completion = %d %s", a.status, a.body)
	}
}
