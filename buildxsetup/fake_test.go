package buildxsetup_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	"github.com/moby/buildkit/solver/pb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBuildkitd answers the few questions of this package over real gRPC.
type fakeBuildkitd struct {
	controlapi.UnimplementedControlServer
	platforms []*pb.Platform
	usage     []*controlapi.UsageRecord
	sparing   bool                          // removes nothing when it is asked for all
	pruned    chan *controlapi.PruneRequest // of one request; nil drops it
}

func (f *fakeBuildkitd) ListWorkers(context.Context, *controlapi.ListWorkersRequest) (*controlapi.ListWorkersResponse, error) {
	return &controlapi.ListWorkersResponse{Record: []*apitypes.WorkerRecord{{
		ID:              "worker1",
		Labels:          map[string]string{"org.mobyproject.buildkit.worker.executor": "oci"},
		Platforms:       f.platforms,
		BuildkitVersion: &apitypes.BuildkitVersion{Version: "v0.0.0-fake"},
	}}}, nil
}

func (f *fakeBuildkitd) DiskUsage(context.Context, *controlapi.DiskUsageRequest) (*controlapi.DiskUsageResponse, error) {
	return &controlapi.DiskUsageResponse{Record: f.usage}, nil
}

func (f *fakeBuildkitd) Prune(req *controlapi.PruneRequest, stream controlapi.Control_PruneServer) error {
	if f.pruned != nil {
		f.pruned <- req
	}
	if f.sparing && req.All {
		return nil
	}
	for _, u := range f.usage {
		if err := stream.Send(u); err != nil {
			return err
		}
	}
	return nil
}

// serve starts f on a listener and returns how to stop it.
func (f *fakeBuildkitd) serve(l net.Listener, conf *tls.Config) (stop func()) {
	if f.platforms == nil {
		f.platforms = []*pb.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
	}
	var opts []grpc.ServerOption
	if conf != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(conf)))
	}
	srv := grpc.NewServer(opts...)
	controlapi.RegisterControlServer(srv, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // ends with Stop
	}()
	return func() { srv.Stop(); <-done }
}

// startFake starts a fake buildkitd on a unix socket in dir and returns its
// address.
func startFake(tb testing.TB, f *fakeBuildkitd, socket string) string {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "unix", socket)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(f.serve(l, nil))
	return "unix://" + socket
}

// startFakeTLS is startFake on TCP with mutual TLS.
func startFakeTLS(tb testing.TB, f *fakeBuildkitd, ca *authority) string {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := tls.X509KeyPair(ca.issue(tb, "127.0.0.1"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(f.serve(l, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	}))
	return "tcp://" + l.Addr().String()
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *authority) issue(tb testing.TB, ip string) (certPEM, keyPEM []byte) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(ip)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// dir writes the three files of BUILDKIT_TLS_DIR.
func (a *authority) dir(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	cert, key := a.issue(tb, "127.0.0.1")
	for name, data := range map[string][]byte{"ca.pem": a.pem, "cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// snapshot describes every file below dir: its content and when it was written.
func snapshot(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = fmt.Sprintf("%s %s", info.ModTime().Format(time.RFC3339Nano), data)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}
