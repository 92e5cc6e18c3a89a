package buildxsetup_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/buildx/store"
	"github.com/docker/buildx/util/confutil"
	"github.com/google/go-cmp/cmp"
	controlapi "github.com/moby/buildkit/api/services/control"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
)

var quiet = slog.New(slog.DiscardHandler)

// settings returns a Config in private directories.
func settings(tb testing.TB, hosts string) buildxsetup.Config {
	tb.Helper()
	return buildxsetup.Config{Hosts: hosts, Name: "dockless", Timeout: 5 * time.Second, DockerConfig: tb.TempDir()}
}

func ensure(tb testing.TB, c buildxsetup.Config) *buildxsetup.Builder {
	tb.Helper()
	b, err := buildxsetup.Ensure(tb.Context(), c, quiet)
	if err != nil {
		tb.Fatalf("Ensure(%q) = %v", c.Hosts, err)
	}
	tb.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("Close() = %v", err)
		}
	})
	return b
}

// stored reads what buildx would use for a Docker endpoint.
func stored(tb testing.TB, c buildxsetup.Config, endpoint string) *store.NodeGroup {
	tb.Helper()
	s, err := store.New(confutil.NewConfig(nil, confutil.WithDir(filepath.Join(c.DockerConfig, "buildx"))))
	if err != nil {
		tb.Fatal(err)
	}
	txn, unlock, err := s.Txn()
	if err != nil {
		tb.Fatal(err)
	}
	defer unlock()
	group, err := txn.Current(endpoint)
	if err != nil {
		tb.Fatal(err)
	}
	return group
}

func TestTheBuilderIsCurrentForEveryDockerEndpoint(t *testing.T) {
	addr := startFake(t, &fakeBuildkitd{}, filepath.Join(t.TempDir(), "bk.sock"))
	c := settings(t, addr)
	b := ensure(t, c)
	for _, endpoint := range []string{"default", "unix:///var/run/docker.sock", "tcp://elsewhere:2375"} {
		group := stored(t, c, endpoint)
		if group == nil || group.Name != "dockless" || group.Driver != "remote" || len(group.Nodes) != 1 || group.Nodes[0].Endpoint != addr {
			t.Errorf("current builder for %s = %+v, want dockless with the driver remote at %s", endpoint, group, addr)
		}
	}
	if len(b.Nodes) != 1 || b.Nodes[0].Workers[0].Version != "v0.0.0-fake" || len(b.Nodes[0].Platforms) != 2 {
		t.Errorf("nodes = %+v, want one with what its worker says", b.Nodes)
	}
}

func TestABuilderThatIsRightIsNotTouched(t *testing.T) {
	addr := startFake(t, &fakeBuildkitd{}, filepath.Join(t.TempDir(), "bk.sock"))
	c := settings(t, addr+"?platforms=linux/arm64")
	ensure(t, c)
	before := snapshot(t, c.DockerConfig)
	time.Sleep(20 * time.Millisecond) // a later write would show in the times
	ensure(t, c)
	if diff := cmp.Diff(before, snapshot(t, c.DockerConfig)); diff != "" {
		t.Errorf("files changed by a second Ensure (-before +after):\n%s", diff)
	}
}

func TestABuilderIsRepaired(t *testing.T) {
	dir := t.TempDir()
	one := startFake(t, &fakeBuildkitd{}, filepath.Join(dir, "1.sock"))
	two := startFake(t, &fakeBuildkitd{}, filepath.Join(dir, "2.sock"))
	ca := newAuthority(t)
	secure := startFakeTLS(t, &fakeBuildkitd{}, ca)
	file := func(c buildxsetup.Config, name string) string { return filepath.Join(c.DockerConfig, "buildx", name) }
	tests := map[string]struct {
		spoil func(*testing.T, *buildxsetup.Config)
		want  string // endpoint of the first node
	}{
		"when the endpoint changed":     {func(_ *testing.T, c *buildxsetup.Config) { c.Hosts = two }, two},
		"when a node was added":         {func(_ *testing.T, c *buildxsetup.Config) { c.Hosts = two + "," + one }, two},
		"when the platforms changed":    {func(_ *testing.T, c *buildxsetup.Config) { c.Hosts = one + "?platforms=linux/riscv64" }, one},
		"when TLS was switched on":      {func(t *testing.T, c *buildxsetup.Config) { c.Hosts, c.TLSDir = secure, ca.dir(t) }, secure},
		"when its record was removed":   {func(t *testing.T, c *buildxsetup.Config) { remove(t, file(*c, "instances/dockless")) }, one},
		"when its record is unreadable": {func(t *testing.T, c *buildxsetup.Config) { write(t, file(*c, "instances/dockless"), "{") }, one},
		"when another builder became current": {func(t *testing.T, c *buildxsetup.Config) {
			write(t, file(*c, "current"), `{"Key":"default","Name":"other","Global":false}`)
		}, one},
		"when it is current for one endpoint": {func(t *testing.T, c *buildxsetup.Config) {
			write(t, file(*c, "current"), `{"Key":"default","Name":"dockless","Global":false}`)
		}, one},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := settings(t, one)
			ensure(t, c)
			test.spoil(t, &c)
			ensure(t, c)
			group := stored(t, c, "elsewhere")
			if group == nil || group.Name != "dockless" || group.Nodes[0].Endpoint != test.want {
				t.Fatalf("current builder = %+v, want dockless at %s", group, test.want)
			}
			before := snapshot(t, c.DockerConfig)
			ensure(t, c)
			if diff := cmp.Diff(before, snapshot(t, c.DockerConfig)); diff != "" {
				t.Errorf("files changed by Ensure after the repair (-before +after):\n%s", diff)
			}
		})
	}
}

func TestCertificatesReachTheStoredBuilder(t *testing.T) {
	ca := newAuthority(t)
	c := settings(t, startFakeTLS(t, &fakeBuildkitd{}, ca))
	c.TLSDir = ca.dir(t)
	b := ensure(t, c)
	want := map[string]string{
		"cacert": filepath.Join(c.TLSDir, "ca.pem"), "cert": filepath.Join(c.TLSDir, "cert.pem"),
		"key": filepath.Join(c.TLSDir, "key.pem"), "servername": "127.0.0.1",
	}
	if diff := cmp.Diff(want, stored(t, c, "").Nodes[0].DriverOpts); diff != "" {
		t.Errorf("driver options (-want +got):\n%s", diff)
	}
	if status := b.Inspect(t.Context())[0]; status.Err != nil {
		t.Errorf("Inspect over TLS = %v", status.Err)
	}
}

func TestAnOptionOfTheUserIsKept(t *testing.T) {
	addr := startFake(t, &fakeBuildkitd{}, filepath.Join(t.TempDir(), "bk.sock"))
	c := settings(t, addr)
	ensure(t, c)
	path := filepath.Join(c.DockerConfig, "buildx", "instances", "dockless")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var group store.NodeGroup
	if err := json.Unmarshal(data, &group); err != nil {
		t.Fatal(err)
	}
	group.Nodes[0].DriverOpts = map[string]string{"default-load": "true"}
	group.Nodes[0].Endpoint = "unix:///gone"
	if data, err = json.Marshal(group); err != nil {
		t.Fatal(err)
	}
	write(t, path, string(data))
	ensure(t, c)
	if got := stored(t, c, "").Nodes[0]; got.DriverOpts["default-load"] != "true" || got.Endpoint != addr {
		t.Errorf("node after the repair = %+v, want %s and default-load kept", got, addr)
	}
}

func TestBuildsLoadTheirImagesWhenAskedUnlessTheUserSaysOtherwise(t *testing.T) {
	c := settings(t, startFake(t, &fakeBuildkitd{}, filepath.Join(t.TempDir(), "bk.sock")))
	loads := func() string { return stored(t, c, "").Nodes[0].DriverOpts["default-load"] }
	ensure(t, c)
	if got := loads(); got != "" {
		t.Errorf("default-load of a builder that nobody asked to load = %q, want none", got)
	}
	c.Load = true
	ensure(t, c)
	if got := loads(); got != "true" {
		t.Errorf("default-load of a builder that shall load = %q, want true", got)
	}
	before := snapshot(t, c.DockerConfig)
	ensure(t, c)
	if diff := cmp.Diff(before, snapshot(t, c.DockerConfig)); diff != "" {
		t.Errorf("files changed when it loads already (-before +after):\n%s", diff)
	}
	path := filepath.Join(c.DockerConfig, "buildx", "instances", "dockless")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, strings.Replace(string(data), `"default-load":"true"`, `"default-load":"false"`, 1))
	ensure(t, c)
	if got := loads(); got != "false" {
		t.Errorf("default-load after the user said false = %q, want false", got)
	}
}

func TestABuildkitdThatStartsLateIsWaitedFor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "bk.sock")
	c := settings(t, "unix://"+socket)
	go func() {
		time.Sleep(200 * time.Millisecond)
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup((&fakeBuildkitd{}).serve(l, nil))
	}()
	ensure(t, c)
}

func TestAnUnreachableBuildkitdIsNamedWithAHint(t *testing.T) {
	c := settings(t, "unix://"+filepath.Join(t.TempDir(), "nobody.sock"))
	c.Timeout = 150 * time.Millisecond
	_, err := buildxsetup.Ensure(t.Context(), c, quiet)
	reason, ok := errors.AsType[*buildxsetup.UnreachableError](err)
	if !ok || reason.Endpoint != c.Hosts || !errors.Is(err, syscall.ENOENT) {
		t.Fatalf("Ensure() = %v, want an UnreachableError for %s that wraps ENOENT", err, c.Hosts)
	}
	if hints := hint.All(err); len(hints) == 0 || !strings.Contains(hints[0], "BUILDKIT_HOST") {
		t.Errorf("hints = %q, want BUILDKIT_HOST named", hints)
	}
	if _, err := os.Stat(filepath.Join(c.DockerConfig, "buildx")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a builder was written for a buildkitd that never answered: %v", err)
	}
}

func TestOneNodeThatAnswersMakesABuilderOfSeveral(t *testing.T) {
	dir := t.TempDir()
	addr := startFake(t, &fakeBuildkitd{}, filepath.Join(dir, "bk.sock"))
	dead := "unix://" + filepath.Join(dir, "nobody.sock")
	c := settings(t, dead+"?platforms=linux/arm64,"+addr)
	c.Timeout = 3 * time.Second
	var logged strings.Builder
	start := time.Now()
	b, err := buildxsetup.Ensure(t.Context(), c, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatalf("Ensure() = %v, want a builder with one node that answers", err)
	}
	if took := time.Since(start); took >= c.Timeout {
		t.Errorf("the dead node was waited for %s", took)
	}
	if len(b.Nodes) != 2 || len(b.Nodes[0].Platforms) != 1 || len(b.Nodes[0].Workers) != 0 || len(b.Nodes[1].Workers) != 1 {
		t.Errorf("nodes = %+v, want both, the dead one with its pinned platform", b.Nodes)
	}
	if !strings.Contains(logged.String(), "level=WARN") || !strings.Contains(logged.String(), "node=dockless0") {
		t.Errorf("the log does not name the dead node:\n%s", logged.String())
	}
	if group := stored(t, c, ""); group == nil || len(group.Nodes) != 2 {
		t.Errorf("stored builder = %+v, want both nodes", group)
	}
	c.Hosts, c.Timeout = dead+","+dead+"2", 150*time.Millisecond
	if _, err := buildxsetup.Ensure(t.Context(), c, quiet); err == nil || !strings.Contains(err.Error(), "nobody.sock") {
		t.Errorf("Ensure() = %v without any node, want an error that names one", err)
	}
}

func TestASilentBuildkitdIsGivenUp(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "bk.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c := settings(t, "unix://"+socket)
	c.Timeout = 300 * time.Millisecond
	if _, err := buildxsetup.Ensure(t.Context(), c, quiet); err == nil || !strings.Contains(err.Error(), "no success within 300ms") {
		t.Errorf("Ensure() = %v, want the end of the wait named", err)
	}
}

func TestACertificateOfAnotherAuthorityIsNotWaitedFor(t *testing.T) {
	c := settings(t, startFakeTLS(t, &fakeBuildkitd{}, newAuthority(t)))
	c.Timeout, c.TLSDir = time.Minute, newAuthority(t).dir(t)
	start := time.Now()
	_, err := buildxsetup.Ensure(t.Context(), c, quiet)
	if err == nil || time.Since(start) > 40*time.Second {
		t.Fatalf("Ensure() = %v after %s, want an error at once", err, time.Since(start))
	}
	if hints := hint.All(err); len(hints) == 0 || !strings.Contains(hints[0], "BUILDKIT_TLS_DIR") {
		t.Errorf("hints = %q, want BUILDKIT_TLS_DIR named", hints)
	}
}

func TestMissingCertificatesAreNamed(t *testing.T) {
	c := settings(t, "tcp://127.0.0.1:1")
	c.TLSDir = t.TempDir()
	_, err := buildxsetup.Ensure(t.Context(), c, quiet)
	if !errors.Is(err, os.ErrNotExist) || len(hint.All(err)) == 0 {
		t.Errorf("Ensure() = %v, want a missing file with a hint", err)
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	c := settings(t, "unix://"+filepath.Join(t.TempDir(), "nobody.sock"))
	c.Timeout = time.Minute
	stopped := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(stopped) })
	if _, err := buildxsetup.Ensure(ctx, c, quiet); !errors.Is(err, stopped) {
		t.Errorf("Ensure() = %v, want the cause of the context", err)
	}
}

func TestWithoutAnAddressTheCurrentBuilderIsUsed(t *testing.T) {
	addr := startFake(t, &fakeBuildkitd{}, filepath.Join(t.TempDir(), "bk.sock"))
	c := settings(t, addr)
	c.Name = "mine"
	ensure(t, c)
	c.Hosts, c.Name = "", "dockless"
	before := snapshot(t, c.DockerConfig)
	b := ensure(t, c)
	if b.Name != "mine" || b.Owned() || len(b.Nodes) != 1 || b.Nodes[0].Endpoint != addr {
		t.Errorf("builder = %q (owned %t) %+v, want mine at %s", b.Name, b.Owned(), b.Nodes, addr)
	}
	if diff := cmp.Diff(before, snapshot(t, c.DockerConfig)); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}
}

func TestWithoutAnyBuildkitdTheHintNamesTheSetting(t *testing.T) {
	c := settings(t, "")
	_, err := buildxsetup.Ensure(t.Context(), c, quiet)
	if hints := hint.All(err); err == nil || len(hints) == 0 || !strings.Contains(hints[0], "BUILDKIT_HOST") {
		t.Errorf("Ensure() = %v with hints %q, want BUILDKIT_HOST named", err, hints)
	}
}

func TestRemoveTakesTheBuilderOut(t *testing.T) {
	addr := startFake(t, &fakeBuildkitd{}, filepath.Join(t.TempDir(), "bk.sock"))
	c := settings(t, addr)
	ensure(t, c)
	for _, want := range []bool{true, false} {
		if got, err := buildxsetup.Remove(t.Context(), c); got != want || err != nil {
			t.Errorf("Remove() = %t, %v, want %t", got, err, want)
		}
	}
	if group := stored(t, c, "default"); group != nil {
		t.Errorf("current builder after Remove = %+v, want none", group)
	}
}

func TestPruneCountsWhatWasFreed(t *testing.T) {
	f := &fakeBuildkitd{
		usage:  []*controlapi.UsageRecord{{ID: "a", Size: 100}, {ID: "b", Size: 23}},
		pruned: make(chan *controlapi.PruneRequest, 1),
	}
	b := ensure(t, settings(t, startFake(t, f, filepath.Join(t.TempDir(), "bk.sock"))))
	got, err := b.Prune(t.Context(), buildxsetup.PruneOptions{All: true, UnusedFor: time.Hour, Filters: []string{"type=regular"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Node != "dockless0" || len(got[0].Records) != 2 || got[0].Bytes != 123 {
		t.Errorf("Prune() = %+v, want 2 records with 123 bytes from dockless0", got)
	}
	if req := <-f.pruned; !req.All || req.KeepDuration != int64(time.Hour) || len(req.Filter) != 1 || req.Filter[0] != `type=="regular"` {
		t.Errorf("request = %v, want all, one hour and one filter", req)
	}
	if status := b.Inspect(t.Context())[0]; status.Err != nil || status.Usage.Bytes != 123 || status.Usage.Records != 2 {
		t.Errorf("Inspect() = %+v, want 123 bytes in 2 records", status)
	}
}

func write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func remove(tb testing.TB, path string) {
	tb.Helper()
	if err := os.Remove(path); err != nil {
		tb.Fatal(err)
	}
}
