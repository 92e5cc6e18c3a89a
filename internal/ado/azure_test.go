package ado_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// identity hands out first, and second once first was refused.
type identity struct {
	mu      sync.Mutex
	refused []string
	err     error
}

func (i *identity) Token(context.Context) (mask.Secret, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.refused) > 0 {
		return mask.NewSecret("second"), i.err
	}
	return mask.NewSecret("first"), i.err
}

func (i *identity) Refuse(token mask.Secret) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refused = append(i.refused, token.Reveal())
}

func azure(t *testing.T, url string, tokens ado.BearerTokens) *ado.Registration {
	t.Helper()
	r, err := ado.NewAzureRegistration(url, tokens, options(t))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Protocol §3.3: 401 with a Bearer challenge asks for a new token.
func TestAnAzureTokenThatIsRefusedIsReplaced(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer second" {
			w.Header().Set("WWW-Authenticate", "Bearer authorization_uri=https://login.example.com/tenant")
			refuse(w, http.StatusUnauthorized, ado.KeyUnauthorized)
			return
		}
		answer(w, http.StatusOK, ado.ConnectionData{})
	})
	tokens := &identity{}
	if _, err := azure(t, srv.URL, tokens).Connect(t.Context()); err != nil {
		t.Errorf("Connect = %v, want none with the second token", err)
	}
	if got := strings.Join(tokens.refused, " "); got != "first" {
		t.Errorf("refused tokens = %q, want the first", got)
	}
}

func TestHintsForAnAzureIdentityDoNotSpeakOfAPAT(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		key    ado.TypeKey
		want   string
	}{
		"not a user":    {http.StatusUnauthorized, ado.KeyUnauthorized, "organization's users"},
		"no permission": {http.StatusForbidden, ado.KeyAccessDenied, "role Administrator"},
		"no pool":       {http.StatusNotFound, ado.KeyPoolNotFound, "AZP_POOL"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newService(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, c.status, c.key) })
			_, err := azure(t, srv.URL, &identity{}).FindPool(t.Context(), "p")
			if hints := strings.Join(hint.All(err), "; "); !strings.Contains(hints, c.want) || strings.Contains(hints, "AZP_TOKEN") {
				t.Errorf("hints = %q, want %q and no AZP_TOKEN", hints, c.want)
			}
		})
	}
}

func TestASignInThatFailsIsNotRepeatedByTheTransport(t *testing.T) {
	srv := newService(t, nil)
	locked := errors.New("the account is locked")
	_, err := azure(t, srv.URL, &identity{err: hint.With(locked, "unlock it")}).Connect(t.Context())
	if !errors.Is(err, locked) || strings.Join(hint.All(err), "") != "unlock it" || len(srv.asked()) != 0 {
		t.Errorf("Connect = %v after %d requests, hints %q, want what the sign-in said", err, len(srv.asked()), hint.All(err))
	}
}
