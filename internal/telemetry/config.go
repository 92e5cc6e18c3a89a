package telemetry

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// What OTEL_EXPORTER_OTLP_PROTOCOL may say.
const (
	protocolHTTP = "http/protobuf"
	protocolGRPC = "grpc"
)

// Config says where spans go. The zero value sends none.
type Config struct {
	Endpoint       string      `envconfig:"OTEL_EXPORTER_OTLP_ENDPOINT" desc:"URL of the collector that spans are sent to, for example http://collector:4318; without a path, OTLP over HTTP uses /v1/traces below it. Empty, with OTEL_EXPORTER_OTLP_TRACES_ENDPOINT empty too, sends none"`
	TracesEndpoint string      `envconfig:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" desc:"URL that spans are sent to as it is written, instead of OTEL_EXPORTER_OTLP_ENDPOINT"`
	Protocol       string      `envconfig:"OTEL_EXPORTER_OTLP_PROTOCOL" default:"http/protobuf" desc:"http/protobuf or grpc; BuildKit, which reads the same variable, takes grpc when it is empty"`
	TracesProtocol string      `envconfig:"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" desc:"http/protobuf or grpc for spans, instead of OTEL_EXPORTER_OTLP_PROTOCOL"`
	Headers        mask.Secret `envconfig:"OTEL_EXPORTER_OTLP_HEADERS" desc:"headers for the collector, name=value,name=value, with values written as in a URL; no step sees them"`
	TracesHeaders  mask.Secret `envconfig:"OTEL_EXPORTER_OTLP_TRACES_HEADERS" desc:"further headers for spans, which win over OTEL_EXPORTER_OTLP_HEADERS"`

	// gRPC's exporter reads these itself, HTTP's does not with a client of ours.
	Certificate             string `envconfig:"OTEL_EXPORTER_OTLP_CERTIFICATE" desc:"file of the certificate authorities that the collector's certificate is checked with, PEM; empty is the system's"`
	TracesCertificate       string `envconfig:"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE" desc:"the same for spans, instead of OTEL_EXPORTER_OTLP_CERTIFICATE"`
	ClientCertificate       string `envconfig:"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" desc:"file of the certificate that the collector is shown, PEM"`
	TracesClientCertificate string `envconfig:"OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE" desc:"the same for spans, instead of OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"`
	ClientKey               string `envconfig:"OTEL_EXPORTER_OTLP_CLIENT_KEY" desc:"file of that certificate's key, PEM"`
	TracesClientKey         string `envconfig:"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY" desc:"the same for spans, instead of OTEL_EXPORTER_OTLP_CLIENT_KEY"`
	Timeout                 string `envconfig:"OTEL_EXPORTER_OTLP_TIMEOUT" desc:"longest time for one request to the collector, in milliseconds; empty is 10000"`
	TracesTimeout           string `envconfig:"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT" desc:"the same for spans, instead of OTEL_EXPORTER_OTLP_TIMEOUT"`

	ServiceName string `envconfig:"OTEL_SERVICE_NAME" default:"dockless" desc:"name of the service that the spans are of"`
	Exporter    string `envconfig:"OTEL_TRACES_EXPORTER" default:"otlp" desc:"otlp, or none to send no spans"`
	Disabled    string `envconfig:"OTEL_SDK_DISABLED" desc:"true sends no spans, whatever else is set"`

	// Version is that of the program.
	Version string `ignored:"true"`
	// Withhold sends spans without the texts of others: errors, command lines, names. It
	// is for a process in a job, whose secrets are in them and whose masks it does not have.
	Withhold bool `ignored:"true"`
}

// Enabled reports whether c sends spans anywhere.
func (c Config) Enabled() bool {
	return !strings.EqualFold(c.Disabled, "true") && c.Exporter != "none" && (c.Endpoint != "" || c.TracesEndpoint != "")
}

// Validate reports everything that is wrong with c, with hints. Settings of what is
// off are not judged.
func (c Config) Validate() error {
	if !c.Enabled() {
		return nil
	}
	var errs []error
	if c.Exporter != "" && c.Exporter != "otlp" {
		errs = append(errs, hint.With(fmt.Errorf("OTEL_TRACES_EXPORTER is %q, which there is not", c.Exporter), "set OTEL_TRACES_EXPORTER to otlp or none"))
	}
	for _, p := range []struct{ name, value string }{
		{"OTEL_EXPORTER_OTLP_PROTOCOL", c.Protocol},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", c.TracesProtocol},
	} {
		if p.value != "" && p.value != protocolHTTP && p.value != protocolGRPC {
			errs = append(errs, hint.With(fmt.Errorf("%s is %q, which there is not", p.name, p.value), "set %s to %s or %s", p.name, protocolHTTP, protocolGRPC))
		}
	}
	for _, e := range []struct{ name, value string }{
		{"OTEL_EXPORTER_OTLP_ENDPOINT", c.Endpoint},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.TracesEndpoint},
	} {
		if e.value != "" && !isEndpoint(e.value) {
			// It is not quoted: a password in it may be what is wrong.
			errs = append(errs, hint.With(fmt.Errorf("%s is no address of a collector", e.name), "set %s to a URL such as http://collector:4318, with credentials in OTEL_EXPORTER_OTLP_HEADERS", e.name))
		}
	}
	if _, err := c.headers(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func isEndpoint(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// Secrets are the values of the headers, which no log may show, and what follows the
// scheme in them ("Bearer …").
func (c Config) Secrets() []mask.Secret {
	headers, err := c.headers()
	if err != nil {
		return nil // Validate says so
	}
	var secrets []mask.Secret
	for _, value := range headers {
		secrets = append(secrets, mask.NewSecret(value))
		if _, bare, ok := strings.Cut(value, " "); ok {
			secrets = append(secrets, mask.NewSecret(strings.TrimSpace(bare)))
		}
	}
	return secrets
}

// protocol is how spans are sent.
func (c Config) protocol() string {
	switch {
	case c.TracesProtocol != "":
		return c.TracesProtocol
	case c.Protocol != "":
		return c.Protocol
	}
	return protocolHTTP
}

// endpoint is where spans are sent to.
func (c Config) endpoint() string {
	switch {
	case c.TracesEndpoint != "":
		return c.TracesEndpoint
	case c.protocol() == protocolGRPC:
		return c.Endpoint
	}
	return strings.TrimRight(c.Endpoint, "/") + "/v1/traces"
}

// headers are those that go with every batch.
func (c Config) headers() (map[string]string, error) {
	out := make(map[string]string)
	for _, h := range []struct {
		name string
		text mask.Secret
	}{{"OTEL_EXPORTER_OTLP_HEADERS", c.Headers}, {"OTEL_EXPORTER_OTLP_TRACES_HEADERS", c.TracesHeaders}} {
		if err := parseHeaders(out, h.text.Reveal()); err != nil {
			return nil, hint.With(fmt.Errorf("reading %s: %w", h.name, err), "write %s as name=value,name=value", h.name)
		}
	}
	return out, nil
}

// parseHeaders adds the headers that text names. Its errors quote nothing of it.
func parseHeaders(to map[string]string, text string) error {
	for i, pair := range strings.Split(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		if !ok || !isToken(name) {
			return fmt.Errorf("entry %d is no name=value", i+1)
		}
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if err != nil || strings.ContainsAny(value, "\r\n\x00") {
			return fmt.Errorf("the value of entry %d cannot be the value of a header", i+1)
		}
		to[name] = value
	}
	return nil
}

// isToken reports whether a header can be called s (RFC 9110 §5.6.2).
func isToken(s string) bool {
	for _, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("!#$%&'*+-.^_`|~", c):
		default:
			return false
		}
	}
	return s != ""
}
