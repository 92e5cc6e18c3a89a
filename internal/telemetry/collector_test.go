package telemetry_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/span"
	"github.com/dockless-ci/dockless/internal/telemetry"
)

// sendOne sends a span and returns what the log says of it.
func sendOne(t *testing.T, c telemetry.Config) string {
	t.Helper()
	var out bytes.Buffer
	on := start(t, c, slog.New(slog.NewTextHandler(&out, nil)))
	_, s := span.Start(on.Context(t.Context(), trace.SpanContext{}), "job")
	s.End(nil)
	on.Stop(t.Context())
	return out.String()
}

func TestSpansAndTheirHeadersDoNotFollowARedirect(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	of, authority, _ := pair(t)
	for _, c := range []struct {
		status int
		to     string // empty: its own host
		http2  bool
	}{
		{http.StatusMovedPermanently, other.URL, false},
		{http.StatusFound, other.URL, false},
		{http.StatusSeeOther, other.URL, false},
		{http.StatusTemporaryRedirect, other.URL, false},
		{http.StatusPermanentRedirect, other.URL, false},
		{http.StatusFound, "", false},
		{http.StatusFound, "", true},
		{http.StatusTemporaryRedirect, other.URL, true},
	} {
		t.Run(fmt.Sprintf("%d to %q, HTTP/2 %t", c.status, c.to, c.http2), func(t *testing.T) {
			var asked atomic.Int32
			collector := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1); (r.ProtoMajor == 2) != c.http2 {
					t.Errorf("the request is of %s", r.Proto)
				}
				http.Redirect(w, r, c.to+"/hunter2", c.status)
			}))
			to := telemetry.Config{Headers: mask.NewSecret("x-api-key=hunter2")}
			if c.http2 {
				collector.EnableHTTP2, collector.TLS, to.Certificate = true, &tls.Config{Certificates: []tls.Certificate{of}}, authority
				collector.StartTLS()
			} else {
				collector.Start()
			}
			t.Cleanup(collector.Close)
			to.Endpoint = collector.URL
			told := sendOne(t, to)
			if n := elsewhere.Load(); n != 0 {
				t.Errorf("%d requests to where the collector sends on, want none", n)
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("%d requests to the collector, want one: the next would end as this did", n)
			}
			if !strings.Contains(told, "the collector answers with a redirect") || strings.Contains(told, "hunter2") {
				t.Errorf("the log says %q, want the redirect without where to", told)
			}
		})
	}
}

func TestFilesAndTimesOfTheCollectorThatAreNoneAreNamed(t *testing.T) {
	_, certificate, key := pair(t)
	_, _, otherKey := pair(t)
	for name, test := range map[string]struct {
		c    telemetry.Config
		says []string
	}{
		"no file":                   {telemetry.Config{TracesCertificate: "/not/there"}, []string{"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/not/there"}},
		"no certificate":            {telemetry.Config{Certificate: key}, []string{"OTEL_EXPORTER_OTLP_CERTIFICATE", "holds no certificate"}},
		"a certificate, and no key": {telemetry.Config{ClientCertificate: certificate}, []string{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE is set, and no key"}},
		"a key, and no certificate": {telemetry.Config{TracesClientKey: key}, []string{"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY is set, and no certificate"}},
		"another's key":             {telemetry.Config{ClientCertificate: certificate, ClientKey: otherKey}, []string{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "_CLIENT_KEY"}},
		"no time":                   {telemetry.Config{Timeout: "10s"}, []string{`OTEL_EXPORTER_OTLP_TIMEOUT is "10s", not a number of milliseconds`}},
		"a time before now":         {telemetry.Config{TracesTimeout: "-1"}, []string{`OTEL_EXPORTER_OTLP_TRACES_TIMEOUT is "-1"`}},
	} {
		test.c.Endpoint = "https://collector.example.com:4318"
		on, err := telemetry.Start(t.Context(), test.c, slog.New(slog.DiscardHandler))
		if err == nil {
			on.Stop(t.Context())
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range test.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error %q lacks %q", name, err, want)
			}
		}
	}
}

// pair makes a certificate for this host, and the files of it and its key.
func pair(t *testing.T) (_ tls.Certificate, certificate, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	signed, err := x509.CreateCertificate(rand.Reader, about, about, secret.Public(), secret)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(t.TempDir(), "certificate"), filepath.Join(t.TempDir(), "key")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: signed}, key: {Type: "PRIVATE KEY", Bytes: bare}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	both, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return both, certificate, key
}

func TestTheVariablesOfOpenTelemetryForCertificatesAndTimeHold(t *testing.T) {
	of, authority, _ := pair(t)
	client, certificate, key := pair(t)
	known := x509.NewCertPool()
	known.AddCert(client.Leaf)
	var taken, slow atomic.Int32
	hang := make(chan struct{})
	collector := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/slow") && slow.Add(1) == 1 {
			_, _ = io.Copy(io.Discard, r.Body)
			<-hang
			return
		}
		taken.Add(1)
	}))
	collector.TLS = &tls.Config{Certificates: []tls.Certificate{of}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: known}
	collector.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of each client without a certificate
	collector.StartTLS()
	t.Cleanup(collector.Close)
	t.Cleanup(func() { close(hang) })
	for _, form := range []string{"", "TRACES_"} {
		t.Run("OTEL_EXPORTER_OTLP_"+form, func(t *testing.T) {
			c := telemetry.Config{Endpoint: collector.URL}
			set := func(name, value string) {
				for field, of := range reflect.ValueOf(&c).Elem().Fields() {
					if field.Tag.Get("envconfig") == "OTEL_EXPORTER_OTLP_"+form+name {
						of.SetString(value)
						return
					}
				}
				t.Fatalf("no setting is called OTEL_EXPORTER_OTLP_%s%s", form, name)
			}
			taken.Store(0)
			if told := sendOne(t, c); taken.Load() != 0 || !strings.Contains(told, "certificate") {
				t.Errorf("without an authority %d batches are taken, and the log says %q", taken.Load(), told)
			}
			set("CERTIFICATE", authority)
			if told := sendOne(t, c); taken.Load() != 0 || !strings.Contains(told, "certificate") {
				t.Errorf("without a certificate of its own %d batches are taken, and the log says %q", taken.Load(), told)
			}
			set("CLIENT_CERTIFICATE", certificate)
			set("CLIENT_KEY", key)
			if told := sendOne(t, c); taken.Load() != 1 || told != "" {
				t.Errorf("with both %d batches are taken, want one; the log says %q", taken.Load(), told)
			}
			set("TIMEOUT", "50") // ms
			slow.Store(0)
			c.Endpoint += "/slow"
			if told := sendOne(t, c); slow.Load() != 2 || told != "" {
				t.Errorf("after 50ms without an answer %d requests were sent, want a second; the log says %q", slow.Load(), told)
			}
		})
	}
}
