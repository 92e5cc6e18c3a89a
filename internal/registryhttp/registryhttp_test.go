package registryhttp

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOnlyTheNamedRegistryGoesUnchecked(t *testing.T) {
	storage := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("blob")) }))
	defer storage.Close()
	registry := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/away") {
			http.Redirect(w, r, storage.URL, http.StatusTemporaryRedirect)
		}
	}))
	defer registry.Close()
	host := func(u string) string {
		at, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		return at.Host
	}
	for name, c := range map[string]struct {
		insecure []string
		path     string
		works    bool
	}{
		"nobody is named":              {nil, "/v2/", false},
		"another registry is named":    {[]string{"registry.example:5000"}, "/v2/", false},
		"this one is":                  {[]string{host(registry.URL)}, "/v2/", true},
		"it sends to one that is not":  {[]string{host(registry.URL)}, "/away", false},
		"it sends to one that is, too": {[]string{host(registry.URL), host(storage.URL)}, "/away", true},
	} {
		own := Own(c.insecure)
		for kind, transport := range map[string]*Transport{"own": own, "shared": Shared(c.insecure)} {
			answer, err := (&http.Client{Transport: transport}).Get(registry.URL + c.path)
			if err == nil {
				err = answer.Body.Close()
			}
			if (err == nil) != c.works {
				t.Errorf("%s, %s: %v, want it to work: %v", name, kind, err, c.works)
			}
			transport.CloseIdleConnections()
		}
	}
}

func TestABodyThatIsSentAgainIsWhole(t *testing.T) {
	const sent = "a layer"
	file := filepath.Join(t.TempDir(), "layer")
	if err := os.WriteFile(file, []byte(sent), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if got = append(got, string(body)); len(got) == 1 {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer registry.Close()
	opened, closed := 0, 0
	open := func() (io.ReadCloser, error) {
		f, err := os.Open(file)
		opened++
		return counted{f, &closed}, err
	}
	body, err := open()
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, registry.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	r.GetBody, r.ContentLength = open, int64(len(sent))
	own := Own(nil)
	for _, want := range []int{http.StatusUnauthorized, http.StatusOK} {
		answer, err := own.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != want {
			t.Errorf("the answer is %s, %v, want %d", answer.Status, err, want)
		}
	}
	if want := []string{sent, sent}; !slices.Equal(got, want) {
		t.Errorf("the registry got %q, want %q", got, want)
	}
	own.CloseIdleConnections()
	if closed < opened { // that of the caller is closed with each request
		t.Errorf("%d bodies were closed, of %d", closed, opened)
	}
	away := errors.New("the file is gone")
	r.GetBody = func() (io.ReadCloser, error) { return nil, away }
	answer, err := own.RoundTrip(r)
	if err == nil {
		_ = answer.Body.Close() // this is a failure already
	}
	if !errors.Is(err, away) {
		t.Errorf("RoundTrip() = %v, want %v", err, away)
	}
}

// counted counts how often a body is closed.
type counted struct {
	io.ReadCloser
	times *int
}

func (c counted) Close() error {
	*c.times++
	return c.ReadCloser.Close()
}
