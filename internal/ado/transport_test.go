package ado_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

const secret = "p4t-0123456789"

func registration(t *testing.T, url string, o ado.Options) *ado.Registration {
	t.Helper()
	r, err := ado.NewRegistration(url, mask.NewSecret(secret), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Protocol §1.9: "Retries 502, 503, 504 (unless X-VSS-HostOfflineError) and
// connection-level failures. Not 429, not 500."; the count defaults to 3. We
// differ in 429: it says when to come back. The poll, the renewal and the reports
// of a job have rhythms of their own (§5.3, §7.1, §7.3, §7.6).
func TestEveryStatusIsRetriedOrNotAsDocumented(t *testing.T) {
	retried := map[int]bool{429: true, 502: true, 503: true, 504: true}
	for status := 300; status < 600; status++ {
		if http.StatusText(status) == "" || status == http.StatusNotModified {
			continue
		}
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			srv := newService(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, "") })
			err := registration(t, srv.URL, options(t)).DeleteAgent(t.Context(), 1, 2)
			got, ok := errors.AsType[*ado.StatusError](err)
			if !ok || got.Code != status || got.Method != http.MethodDelete || !strings.HasSuffix(got.Path, "/pools/1/agents/2") {
				t.Fatalf("DeleteAgent = %v, want a StatusError of %d", err, status)
			}
			want := 1
			if retried[status] {
				want = 1 + ado.DefaultRetries
			}
			if n := len(srv.asked()); n != want || got.Temporary() != retried[status] {
				t.Errorf("requests = %d, Temporary = %t, want %d, %t", n, got.Temporary(), want, retried[status])
			}
		})
	}
}

func TestAnOfflineHostIsNotTriedAgain(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-VSS-HostOfflineError", "yes")
		refuse(w, http.StatusServiceUnavailable, "")
	})
	err := registration(t, srv.URL, options(t)).DeleteAgent(t.Context(), 1, 2)
	if n := len(srv.asked()); err == nil || n != 1 {
		t.Errorf("requests = %d (%v), want 1", n, err)
	}
}

func TestABrokenConnectionIsTriedAgainWithTheSameBody(t *testing.T) {
	var n atomic.Int32
	srv := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) < 3 {
			panic(http.ErrAbortHandler)
		}
		answer(w, http.StatusOK, ado.TaskAgent{ID: 87, Authorization: &ado.AgentAuthorization{ClientID: "c", AuthorizationURL: "u"}})
	})
	if _, err := registration(t, srv.URL, options(t)).AddAgent(t.Context(), 1, ado.TaskAgent{Name: "build-01"}); err != nil {
		t.Fatal(err)
	}
	asked := srv.asked()
	if len(asked) != 3 || asked[0].Body != asked[2].Body || !strings.Contains(asked[2].Body, "build-01") {
		t.Errorf("requests = %+v, want three with one body", asked)
	}
}

func TestRetryAfterIsHonored(t *testing.T) {
	var n atomic.Int32
	srv := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Retry-After", "0.2")
			refuse(w, http.StatusServiceUnavailable, "")
			return
		}
		answer(w, http.StatusOK, struct{}{})
	})
	started := time.Now()
	if err := registration(t, srv.URL, options(t)).DeleteAgent(t.Context(), 1, 2); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took < 200*time.Millisecond {
		t.Errorf("the second attempt came after %s, want at least 200ms", took)
	}
}

func TestAnAnswerThatDoesNotComeIsNamed(t *testing.T) {
	release := make(chan struct{})
	srv := newService(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	o := options(t)
	o.Timeout, o.Retries = 20*time.Millisecond, 0
	err := registration(t, srv.URL, o).DeleteAgent(t.Context(), 1, 2)
	if err == nil || !strings.Contains(err.Error(), "no complete answer in time (20ms)") {
		t.Errorf("error = %v, want one that says how long it waited", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	power := errors.New("power failed")
	cancel(power)
	if err := registration(t, srv.URL, o).DeleteAgent(ctx, 1, 2); !errors.Is(err, power) {
		t.Errorf("error = %v, want the cause of the context", err)
	}
}

// Protocol §1.8: clients branch on typeKey, never on the status code.
func TestTypeKeysBecomeSentinels(t *testing.T) {
	for key, want := range map[ado.TypeKey]error{
		ado.KeyPoolNotFound: ado.ErrPoolNotFound, ado.KeyAgentExists: ado.ErrAgentExists,
		ado.KeySessionConflict: ado.ErrSessionConflict, ado.KeySessionExpired: ado.ErrSessionExpired,
		ado.KeyAccessTokenExpired: ado.ErrRevoked, ado.KeyJobNotFound: ado.ErrLockLost, ado.KeyJobTokenExpired: ado.ErrLockLost,
		ado.KeyAccessDenied: ado.ErrAccessDenied, ado.KeyUnauthorized: ado.ErrUnauthorized, ado.KeyPlanTerminated: ado.ErrPlanGone,
	} {
		for _, status := range []int{400, 401, 403, 404, 409} {
			srv := newService(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, key) })
			err := registration(t, srv.URL, options(t)).DeleteAgent(t.Context(), 1, 2)
			if !errors.Is(err, want) {
				t.Errorf("%s with status %d = %v, want %v", key, status, err, want)
			}
			if !errors.Is(want, ado.ErrUnauthorized) && errors.Is(err, ado.ErrUnauthorized) {
				t.Errorf("%s with status %d also means %v", key, status, ado.ErrUnauthorized)
			}
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	other := newService(t, nil)
	srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/_signin?token="+secret, http.StatusFound)
	})
	_, err := registration(t, srv.URL, options(t)).Connect(t.Context())
	if !errors.Is(err, ado.ErrUnauthorized) || strings.Contains(err.Error(), "signin") {
		t.Errorf("Connect = %v, want unauthorized and no more than the host", err)
	}
	if n := len(other.asked()); n != 0 {
		t.Errorf("the other host was asked %d times, want never", n)
	}
}

func TestASignInPageIsAnErrorThatShowsHalfAKilobyteOfIt(t *testing.T) {
	page := "<html>" + secret + strings.Repeat("é", 1000) + "</html>"
	srv := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusNonAuthoritativeInfo)
		_, _ = w.Write([]byte(page))
	})
	_, err := registration(t, srv.URL, options(t)).Connect(t.Context())
	status, ok := errors.AsType[*ado.StatusError](err)
	if !ok || !errors.Is(err, ado.ErrUnauthorized) || len(hint.All(err)) == 0 {
		t.Fatalf("Connect = %v, want unauthorized with a hint", err)
	}
	if n := len(status.Excerpt); n < 500 || n > 512 || strings.Contains(err.Error(), secret) {
		t.Errorf("excerpt of %d bytes: %q, want about half a kilobyte without the token", n, status.Excerpt)
	}
}

// One law: whatever the server does, no error and no log line shows a secret.
func TestA35NoSecretReachesErrorsOrLogs(t *testing.T) {
	const jobToken = "job-t0ken-value"
	echo := func(status int, kind, form string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("X-TFS-ServiceError", secret+jobToken)
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, form, secret, jobToken, r.Header.Get("Authorization"))
		}
	}
	for name, handle := range map[string]http.HandlerFunc{
		"JSON error":      echo(400, "application/json", `{"message":"%s %s %s","typeKey":"X"}`),
		"broken JSON":     echo(200, "application/json", `{"count":"%s","value":"%s %s"}`),
		"wrong types":     echo(200, "application/json", `{"id":"%s","value":[{"id":"%s%s"}]}`),
		"cut short":       echo(200, "application/json", `{"value":["%s%s%s`),
		"server error":    echo(500, "application/json", `{"message":"%s %s %s"}`),
		"temporary error": echo(503, "application/json", `{"message":"%s %s %s"}`),
	} {
		t.Run(name, func(t *testing.T) {
			srv := newService(t, handle)
			var log bytes.Buffer
			o := options(t)
			o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			admin := registration(t, srv.URL, o)
			client, err := ado.NewJobClient(&job.Message{JobID: "j", Resources: job.Resources{Endpoints: []job.Endpoint{{
				Name: job.SystemConnection, URL: srv.URL, Authorization: job.Authorization{Parameters: map[string]string{"AccessToken": jobToken}},
			}}}}, o)
			if err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			var errs []error
			keep := func(_ any, err error) { errs = append(errs, err) }
			keep(admin.Connect(ctx))
			keep(admin.FindPool(ctx, "p"))
			keep(admin.FindAgent(ctx, 1, "a"))
			keep(admin.AddAgent(ctx, 1, ado.TaskAgent{}))
			keep(client.CreateLog(ctx, "r"))
			errs = append(errs, admin.DeleteAgent(ctx, 1, 2), client.Complete(ctx, job.Succeeded, false),
				client.UpdateRecords(ctx, []job.Record{{ID: "r", Variables: map[string]job.Variable{"v": {Value: jobToken}}}}),
				client.SendLines(ctx, "s", 1, []string{"line"}), client.AppendLog(ctx, 1, strings.NewReader("text")))
			for _, err := range errs {
				if err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), jobToken)) {
					t.Errorf("an error shows a secret: %v", err)
				}
			}
			if strings.Contains(log.String(), secret) || strings.Contains(log.String(), jobToken) {
				t.Errorf("the log shows a secret:\n%s", &log)
			}
		})
	}
}

// Protocol §0.3: the job's token opens its plan, the agent's its pool.
func TestA16PlansAreEnteredWithTheJobsTokenAndPoolsWithTheAgents(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			answer(w, http.StatusOK, ado.TokenAnswer{AccessToken: "agenttoken", ExpiresIn: 3000})
			return
		}
		answer(w, http.StatusOK, ado.Log{ID: 1})
	})
	agent, err := ado.NewClient(srv.URL, 12, tokens(t, srv), options(t))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := ado.NewJobClient(message(srv.URL), options(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	_, _ = agent.RenewRequest(ctx, 903) // the answer has no date, which does not matter here
	_, logErr := plan.CreateLog(ctx, "S")
	_, listErr := plan.Logs(ctx)
	for _, err := range []error{
		logErr, listErr, agent.FinishRequest(ctx, 903, job.Succeeded), agent.DeleteMessage(ctx, "s", 1), plan.AppendLog(ctx, 1, strings.NewReader("x")),
		plan.UpdateRecords(ctx, nil), plan.SendLines(ctx, "S", 1, nil), plan.Attach(ctx, "S", "t", "n", strings.NewReader("x")), plan.Complete(ctx, job.Succeeded, false),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	seen := map[string]int{}
	for _, q := range srv.asked() {
		want := "Bearer agenttoken"
		switch {
		case strings.HasPrefix(q.Path, planPath):
			want = "Bearer jobtoken"
		case q.Path == "/token":
			want = ""
		}
		if got := q.Header.Get("Authorization"); got != want {
			t.Errorf("%s %s is authorized with %q, want %q", q.Method, q.Path, got, want)
		}
		seen[want]++
	}
	if seen["Bearer agenttoken"] != 3 || seen["Bearer jobtoken"] != 7 {
		t.Errorf("requests by credential = %v, want 3 of the agent and 7 of the job", seen)
	}
}
