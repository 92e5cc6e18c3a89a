package imagebuild

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
)

func TestARequestBecomesTheSettingsOfTheFrontend(t *testing.T) {
	s := &solver{r: &Request{
		BuildArgs: map[string]string{"A": "1"}, Labels: map[string]string{"l": "x"}, Target: "t", NoCacheFilter: []string{"a", "b"}, Pull: true,
		AddHosts: []string{"db:10.0.0.1", "six:::1"}, Ulimits: []string{"nofile=1:2", "nproc=3:3"}, ShmSize: 7, Network: "none", CgroupParent: "ci",
		Resources:    map[string]string{"memory": "5", "memory-swap": "-1", "cpuset-cpus": "0"},
		Attestations: map[string]string{"sbom": "", "provenance": "mode=min"},
		Provenance:   Provenance{Builder: "https://x/?a=1,2", Revision: "abc", Job: "j"},
	}}
	got, err := s.attrs()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"build-arg:A": "1", "label:l": "x", "target": "t", "no-cache": "a,b", "image-resolve-mode": "pull",
		"add-hosts": "db=10.0.0.1,six=::1", "ulimit": "nofile=1:2,nproc=3:3", "shm-size": "7", "force-network-mode": "none", "cgroup-parent": "ci",
		"memory": "5", "memswap": "-1", "cpusetcpus": "0",
		"attest:sbom": "", "attest:provenance": `mode=min,"builder-id=https://x/?a=1,2"`, "vcs:revision": "abc", "vcs:job": "j",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestWithoutAnAttestationNothingIsToldOfTheOrigin(t *testing.T) {
	s := &solver{r: &Request{Provenance: Provenance{Builder: "https://x/", Revision: "abc"}}}
	if got, err := s.attrs(); err != nil || len(got) != 0 {
		t.Errorf("settings = %q, %v, want none", got, err)
	}
}

func TestOnlyTheHostsNetworkBringsItsEntitlement(t *testing.T) {
	for network, want := range map[string][]string{"": {"device"}, "none": {"device"}, "host": {"device", "network.host"}} {
		s := &solver{r: &Request{Network: network, Allow: []string{"device"}}}
		if got := s.entitlements(); !cmp.Equal(got, want) {
			t.Errorf("entitlements with network %q = %q, want %q", network, got, want)
		}
	}
}

func TestTheGatewayIsWhatTheNodeTells(t *testing.T) {
	node := func(labels map[string]string) buildxsetup.Node {
		return buildxsetup.Node{Name: "n0", Workers: []buildxsetup.Worker{{Labels: labels}}}
	}
	for _, test := range []struct {
		labels map[string]string
		want   string // empty is an error
	}{
		{map[string]string{labelGateway: "172.17.0.1"}, "h=172.17.0.1"},
		{map[string]string{labelNetwork: "host"}, "h=127.0.0.1"},
		{map[string]string{labelNetwork: "cni"}, ""},
		{nil, ""},
	} {
		got, err := hostLines([]string{"h:host-gateway"}, node(test.labels))
		if got != test.want || (err == nil) == (test.want == "") {
			t.Errorf("host-gateway of a node with %q = %q, %v, want %q", test.labels, got, err, test.want)
		}
		if err != nil && len(hint.All(err)) == 0 {
			t.Errorf("%v has no hint", err)
		}
	}
}

func TestPlacesThatBuildKitFetchesItself(t *testing.T) {
	for place, want := range map[string][2]bool{ // remote, with ssh
		"https://x.com/a.git#m:d": {true, false}, "http://x.com/context.tar": {true, false}, "git://x.com/a": {true, false},
		"github.com/a/b": {true, false}, "git@x.com:a/b.git": {true, true}, "ssh://git@x.com/a.git": {true, true},
		".": {}, "/srv/a": {}, "../a": {}, "a/b": {}, "docker-image://x": {}, "": {},
	} {
		if got := [2]bool{IsRemote(place), IsGitSSH(place)}; got != want {
			t.Errorf("%q is remote, with ssh: %v, want %v", place, got, want)
		}
	}
}

func TestTheImageOfALayoutIsFound(t *testing.T) {
	const some = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for place, want := range map[string][3]string{
		"/a/b": {"/a/b"}, "/a/b:1.2": {"/a/b", "1.2"}, "/a/b@" + some: {"/a/b", "", some}, "/a/b:1@" + some: {"/a/b", "1", some}, "/a:b/c": {"/a:b/c"},
	} {
		dir, tag, d, err := cutLayout(place)
		if got := [3]string{dir, tag, d.String()}; err != nil || got != want {
			t.Errorf("cutLayout(%q) = %q, %v, want %q", place, got, err, want)
		}
	}
	if _, _, _, err := cutLayout("/a@sha256:short"); err == nil {
		t.Error("a wrong digest passed")
	}
	dir := contextDir(t, map[string]string{"index.json": `{"manifests":[{"digest":"` + some + `","annotations":{"org.opencontainers.image.ref.name":"1"}},{"digest":"sha256:x","annotations":{"io.containerd.image.name":"docker.io/a/b:2"}}]}`})
	l := &layoutStore{dir: dir, open: os.Open}
	if d, err := l.find("1"); err != nil || d != some {
		t.Errorf("find(1) = %s, %v", d, err)
	}
	for _, tag := range []string{"", "2", "3"} { // 2 has a digest that is none
		if d, err := l.find(tag); err == nil {
			t.Errorf("find(%q) = %s, want an error", tag, d)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("hidden"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []digest.Digest{"sha256:../../secret", "../secret", some} {
		if _, err := l.Info(t.Context(), d); err == nil {
			t.Errorf("Info(%q) found a blob", d)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte("hidden: text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.find("1"); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("an index that is none = %v, want an error without its text", err)
	}
}

// A caller that may read more than the one it builds for says how files are opened.
func TestALayoutIsOpenedAsTheRequestSays(t *testing.T) {
	closed := func(path string) (*os.File, error) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	}
	for _, place := range []string{":1", "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"} {
		if _, _, err := openLayout(t.TempDir()+place, closed); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("openLayout(%q) = %v, want a refusal", place, err)
		}
	}
}

func FuzzCutLayout(f *testing.F) {
	for _, seed := range []string{"/a:b", "/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", ":", "@", "a:b@c:d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, place string) {
		dir, tag, d, err := cutLayout(place)
		if err != nil {
			return
		}
		if d != "" && d.Validate() != nil {
			t.Errorf("cutLayout(%q) has the digest %q", place, d)
		}
		if !strings.HasPrefix(place, dir) || strings.Contains(tag, "/") {
			t.Errorf("cutLayout(%q) = %q, %q", place, dir, tag)
		}
	})
}
