package agent_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
)

// proxied puts a proxy in front of srv and returns its address. look sees every
// request first, and answers it itself when it returns true.
func proxied(t *testing.T, srv *emulatortest.Server, look func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	target, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	connections := ado.NewHTTP()
	forward := &httputil.ReverseProxy{
		Transport: connections, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the server names itself by it
		},
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !look(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		connections.CloseIdleConnections()
	})
	return web.URL
}

// refuse answers as the service does.
func refuse(w http.ResponseWriter, code int, key string) bool {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(`{"$id":"1","message":"refused","typeKey":"` + key + `"}`)) // the client sees it or fails
	return true
}

// administrator is who registers agents by hand.
type administrator struct {
	*ado.Registration
	t    *testing.T
	pool ado.PoolID
	key  *ado.PublicKey
}

func administratorOf(t *testing.T, srv *emulatortest.Server) *administrator {
	t.Helper()
	connections := ado.NewHTTP()
	t.Cleanup(connections.CloseIdleConnections)
	r, err := ado.NewRegistration(srv.URL, srv.PAT, ado.Options{HTTP: connections, Log: slog.New(slog.DiscardHandler), Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := r.FindPool(t.Context(), srv.Pool)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ado.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return &administrator{Registration: r, t: t, pool: pool.ID, key: ado.PublicKeyOf(key)}
}

// add registers an agent that is offline.
func (a *administrator) add(name string, capabilities map[string]string) ado.TaskAgent {
	a.t.Helper()
	agent, err := a.AddAgent(a.t.Context(), a.pool, ado.TaskAgent{
		Name: name, Version: "4.259.0", SystemCapabilities: capabilities, Authorization: &ado.AgentAuthorization{PublicKey: a.key},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return agent
}

// find returns the agent of a name with its capabilities.
func (a *administrator) find(name string) ado.TaskAgent {
	a.t.Helper()
	agent, err := a.FindAgent(a.t.Context(), a.pool, name)
	if err != nil {
		a.t.Fatal(err)
	}
	return agent
}

// names are those of all agents.
func (a *administrator) names() map[string]bool {
	a.t.Helper()
	all, err := a.Agents(a.t.Context(), a.pool)
	if err != nil {
		a.t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, agent := range all {
		names[agent.Name] = true
	}
	return names
}
