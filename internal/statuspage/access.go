package statuspage

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Who is answered.
const (
	Loopback = "loopback" // requests from this machine
	Public   = "public"   // whoever reaches the address
	Off      = "off"      // nobody, as the empty text
)

// Config says who may look. The zero value is a page for nobody; take the
// defaults of the tags.
type Config struct {
	Access string   `envconfig:"DOCKLESS_STATUS_PAGE" default:"loopback" desc:"who sees the status page at DOCKLESS_HTTP_ADDR, which shows jobs and their masked logs: loopback, requests from this machine or pod only (kubectl port-forward is one); public, whoever reaches the address; off, nobody. Metrics are not concerned"`
	Hosts  []string `envconfig:"DOCKLESS_STATUS_HOSTS" desc:"names, comma-separated, under which browsers may ask for the status page besides localhost and IP addresses, for example the name of a service; others are refused, since a name can be made to point anywhere"`
}

// Validate reports a setting that says nothing.
func (c Config) Validate() error {
	if !slices.Contains([]string{Loopback, Public, Off}, c.Access) {
		return hint.With(fmt.Errorf("DOCKLESS_STATUS_PAGE is %q", c.Access), "set DOCKLESS_STATUS_PAGE to loopback, public or off")
	}
	for _, name := range c.Hosts {
		if name == "" || strings.ContainsAny(name, ":/ *") {
			return hint.With(fmt.Errorf("DOCKLESS_STATUS_HOSTS has %q, which is no name of a host", name),
				"set DOCKLESS_STATUS_HOSTS to names without scheme and port, such as agent.ci.example")
		}
	}
	return nil
}

// refusal says why a request is not answered, and with which status.
type refusal struct {
	code int
	text string
}

// refuse judges a request; nil is welcome.
func (c Config) refuse(r *http.Request) *refusal {
	if c.Off() {
		return &refusal{http.StatusNotFound, "the status page is off"}
	}
	if c.Access == Loopback && !fromHere(r) {
		return &refusal{http.StatusForbidden, "the status page answers this machine only: forward the port, or let others in (DOCKLESS_STATUS_PAGE=public; of an emulator, --status-page public)"}
	}
	if !c.knows(r.Host) {
		return &refusal{http.StatusMisdirectedRequest, "the status page is not known under the name that was asked for: use localhost, or make the name known (DOCKLESS_STATUS_HOSTS; of an emulator, --status-host)"}
	}
	return nil
}

// forwarded are headers of proxies. What one of them sends comes from its own
// address, which for a sidecar is loopback, whoever asked. One that knows no HTTP
// adds none, and nothing here can tell: docs/status-page.md says what to do.
var forwarded = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}

func fromHere(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		return false
	}
	return !slices.ContainsFunc(forwarded, func(name string) bool { return len(r.Header.Values(name)) > 0 })
}

// knows reports whether the page goes by the name of the header Host. A site
// that has its name point here (DNS rebinding) would read the page with its
// visitor's browser; it cannot do so with an address.
func (c Config) knows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if address, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return c.Access == Public || address.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		slices.ContainsFunc(c.Hosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// Off reports whether there is no page.
func (c Config) Off() bool { return c.Access != Loopback && c.Access != Public }
