package registryhttp

import (
	"net/http"
	"net/http/httptest"
	"net/url"
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
