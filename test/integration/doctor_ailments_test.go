package integration_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/probe"
	"github.com/dockless-ci/dockless/test/rig"
)

// ailment is something that is wrong, and what doctor has to make of it.
type ailment struct {
	what string // what is broken, for people
	// make breaks it until the end of the test, and returns what the settings are then.
	make    func(t *testing.T, p *patient) (env []string)
	verdict string // status and check
	hint    string // part of it
	alone   bool   // the other groups are not asked: they are not as they are for others
	uid     int
}

// ailments are those of each group.
var ailments = []struct {
	group string
	all   []ailment
}{
	{"settings", []ailment{
		{what: "a setting that cannot be read", verdict: "fail settings", hint: "set DOCKLESS_EPHEMERAL to true or false", alone: true, make: set("DOCKLESS_EPHEMERAL=maybe")},
		{what: "no credential", verdict: "fail settings", hint: "set AZP_TOKEN", alone: true, make: set("AZP_TOKEN=")},
	}},
	{"machine", []ailment{
		{what: "a work folder on a full disk", verdict: "fail work", hint: "free disk space", make: func(t *testing.T, p *patient) []string {
			return []string{"AZP_WORK=" + p.smallVolume(t, "full", 64)}
		}},
		{what: "a work folder that is a file", verdict: "fail work", hint: "set AZP_WORK", make: func(t *testing.T, p *patient) []string {
			return []string{"AZP_WORK=" + p.write(t, "file", "") + "/work"}
		}},
		{what: "a state directory of somebody else", verdict: "fail state", hint: "set DOCKLESS_STATE_DIR", alone: true, uid: lowlyUser, make: func(t *testing.T, p *patient) []string {
			work := filepath.Join(p.dir, "theirs")
			if err := errors.Join(os.MkdirAll(work, 0o755), os.Chown(work, lowlyUser, lowlyUser)); err != nil {
				t.Fatal(err)
			}
			return []string{"AZP_WORK=" + work}
		}},
		{what: "no git", verdict: "fail git", hint: "install git 2.31 or later", make: func(t *testing.T, p *patient) []string {
			return []string{"PATH=" + p.programs(t, "bash", "node")}
		}},
		{what: "an old git", verdict: "fail git", hint: "install git 2.31 or later", make: func(t *testing.T, p *patient) []string {
			dir := p.programs(t, "bash", "node")
			if err := os.WriteFile(filepath.Join(dir, "git"), []byte("#!"+filepath.Join(dir, "bash")+"\necho git version 2.25.1\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			return []string{"PATH=" + dir}
		}},
		{what: "no Node.js", verdict: "warn node", hint: "install Node.js 16 or later", make: set("DOCKLESS_NODE=no-node-here")},
		{what: "a page of an agent that was killed", verdict: "fail probe page", hint: "start the agent, which takes a page over", make: killedAgent},
		{what: "a page of another user", verdict: "fail probe page", hint: "remove the file, or set DOCKLESS_PROBE_FILE", make: func(t *testing.T, p *patient) []string {
			if err := errors.Join(os.WriteFile(p.page, nil, 0o644), os.Chown(p.page, lowlyUser, lowlyUser)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Remove(p.page) })
			return nil
		}},
		{what: "a directory of the page that is not there", verdict: "fail probe page", hint: "set DOCKLESS_PROBE_FILE", make: set("DOCKLESS_PROBE_FILE=/dev/shm/none/dockless")},
	}},
	{"azure-devops", []ailment{
		{what: "a clock that is wrong by ten minutes", verdict: "fail clock", hint: "set the clock of this machine", make: skew(-10 * time.Minute)},
		{what: "a clock that is wrong by 90 seconds", verdict: "warn clock", hint: "set the clock of this machine", make: skew(90 * time.Second)},
		{what: "TLS with an unknown authority", verdict: "fail address", hint: "DOCKLESS_CA_FILE", make: set("DOCKLESS_CA_FILE=")},
		{what: "a file of authorities that is none", verdict: "fail authorities", hint: "set DOCKLESS_CA_FILE to a PEM file", make: set("DOCKLESS_CA_FILE=/etc/hostname")},
		{what: "a proxy that is down", verdict: "fail proxy", hint: "set HTTPS_PROXY to a proxy that runs", make: func(t *testing.T, p *patient) []string {
			return []string{"AZP_URL=https://dev.azure.com/contoso", "HTTPS_PROXY=http://" + closedPort(t)} // loopback has no proxy
		}},
		{what: "a server that is down", verdict: "fail address", hint: "check that AZP_URL names the server", make: func(t *testing.T, _ *patient) []string {
			return []string{"AZP_URL=https://" + closedPort(t)}
		}},
		{what: "a server that does not answer", verdict: "fail address", hint: "check that AZP_URL names the server", make: func(t *testing.T, p *patient) []string {
			p.fault(t, emulator.Fault{Kind: emulator.FaultDelay, For: 20 * time.Second})
			return nil
		}},
		{what: "an Azure identity with a wrong secret", verdict: "fail identity", hint: "AZURE_CLIENT_SECRET", make: func(_ *testing.T, p *patient) []string { return p.asIdentity("wrong") }},
		{what: "a token that is not known", verdict: "fail sign-in", hint: "set AZP_TOKEN to a personal access token that has not expired", make: set("AZP_TOKEN=expired")},
		{what: "a token without the scope", verdict: "fail scope", hint: `with the scope "Agent Pools (read & manage)"`, make: set("AZP_TOKEN=no-scope")},
		{what: "a token with the scope to read", verdict: "fail scope", hint: `with the scope "Agent Pools (read & manage)"`, make: set("AZP_TOKEN=read-scope")},
		{what: "a pool in which the owner has no role", verdict: "fail pool", hint: "set AZP_POOL to the name of a pool, or give the owner of AZP_TOKEN a role in it", make: set("AZP_TOKEN=stranger")},
		{what: "a pool in which the owner may only look", verdict: "fail role", hint: "give the owner of AZP_TOKEN the role Administrator", make: set("AZP_TOKEN=reader")},
	}},
	{"buildkit", []ailment{
		{what: "buildkitd is down", verdict: "fail node dockless0, fail node dockless1", hint: "start its buildkitd", make: func(t *testing.T, p *patient) []string {
			if err := p.buildkitd.Kill(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := p.buildkitd.Restart(context.WithoutCancel(t.Context())); err != nil {
					t.Errorf("starting buildkitd again: %v", err)
				}
			})
			return nil
		}},
		{what: "buildkitd hangs", verdict: "fail node dockless0, fail node dockless1", hint: "start its buildkitd", make: func(t *testing.T, p *patient) []string {
			if err := syscall.Kill(p.buildkitd.Pid(), syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = syscall.Kill(p.buildkitd.Pid(), syscall.SIGCONT) }) // it is there
			return nil
		}},
		{what: "a client's certificate that has expired", verdict: "fail node dockless1 certificate", hint: "make new certificates", make: expiredCertificate},
		{what: "a client's certificate of a stranger", verdict: "fail node dockless1 certificate", hint: "ca.pem in BUILDKIT_TLS_DIR must have signed", make: func(t *testing.T, p *patient) []string {
			_, stranger := certificates(t)
			return []string{"BUILDKIT_TLS_DIR=" + stranger}
		}},
		{what: "a client's certificate that buildkitd does not trust", verdict: "fail node dockless1 certificate", hint: "was not signed by an authority that buildkitd trusts", make: func(t *testing.T, p *patient) []string {
			_, stranger := certificates(t)
			if err := os.WriteFile(filepath.Join(stranger, "ca.pem"), []byte(read(t, filepath.Join(p.clients, "ca.pem"))), 0o600); err != nil {
				t.Fatal(err)
			}
			return []string{"BUILDKIT_TLS_DIR=" + stranger}
		}},
		{what: "the snapshotter native", verdict: "fail node dockless0 snapshotter", hint: "give buildkitd a root on ext4 or xfs", make: func(t *testing.T, p *patient) []string {
			return []string{"BUILDKIT_HOST=" + rig.NeedBuildkitd(t, rig.BuildkitdOptions{Snapshotter: "native", Disk: 160 * megabyte, Extra: smallPolicy}).Addr()}
		}},
		{what: "no emulator for a platform", verdict: "fail node dockless0 platforms", hint: "register an emulator", make: func(_ *testing.T, p *patient) []string {
			return []string{"BUILDKIT_HOST=" + p.buildkitd.Addr() + "?platforms=linux/amd64,linux/riscv64"}
		}},
		{what: "a builder on a full disk", verdict: "fail node dockless0 disk", hint: "run dockless builder prune", make: func(t *testing.T, p *patient) []string {
			fill(t, p.buildkitd.Root())
			return []string{"BUILDKIT_HOST=" + p.buildkitd.Addr()}
		}},
	}},
	{"podman", []ailment{
		{what: "a Podman socket without rights", verdict: "fail service", hint: "let this user read and write the socket", alone: true, uid: lowlyUser, make: func(t *testing.T, p *patient) []string {
			if err := os.Chmod(filepath.Dir(p.podman.Socket()), 0o755); err != nil {
				t.Fatal(err)
			}
			return nil
		}},
		{what: "no Podman at CONTAINER_HOST", verdict: "fail service", hint: "start the service with", make: set("CONTAINER_HOST=unix:///run/nowhere/podman.sock")},
		{what: "Podman hangs", verdict: "fail service", hint: "start it anew if it hangs", make: func(t *testing.T, p *patient) []string {
			if err := syscall.Kill(p.podman.Pid(), syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = syscall.Kill(p.podman.Pid(), syscall.SIGCONT) }) // as above
			return nil
		}},
	}},
	{"registry", []ailment{
		{what: "a registry that is read-only", verdict: "fail push to registry.example:5000", hint: "is read-only", make: func(t *testing.T, p *patient) []string {
			return p.otherRegistry(rig.NeedRegistry(t, rig.RegistryOptions{ReadOnly: true}))
		}},
		{what: "a registry that wants a login", verdict: "fail push to registry.example:5000", hint: "log in to", make: func(t *testing.T, p *patient) []string {
			return p.otherRegistry(rig.NeedRegistry(t, rig.RegistryOptions{User: "somebody", Password: "else"}))
		}},
		{what: "a registry that is down", verdict: "fail push to 10.0.0.1:443", hint: "is a registry and that this machine reaches it", make: func(t *testing.T, _ *patient) []string {
			return []string{"DOCKLESS_CACHE_REPO=" + closedPort(t) + "/cache"}
		}},
	}},
}

func set(env ...string) func(*testing.T, *patient) []string {
	return func(*testing.T, *patient) []string { return env }
}

func skew(by time.Duration) func(*testing.T, *patient) []string {
	return func(t *testing.T, p *patient) []string {
		p.fault(t, emulator.Fault{Kind: emulator.FaultClockSkew, For: by})
		return nil
	}
}

func (p *patient) fault(t *testing.T, f emulator.Fault) {
	t.Helper()
	p.srv.Fail(f)
	t.Cleanup(p.srv.Heal)
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// otherRegistry makes another registry that of the caches.
func (p *patient) otherRegistry(r *rig.Registry) []string {
	return []string{"DOCKLESS_CACHE_REPO=" + r.Addr() + "/cache", "other registry=" + r.Addr()}
}

// programs makes a directory that has these programs only.
func (p *patient) programs(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.Symlink(rig.NeedBin(t, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// killedAgent starts an agent, and kills it as soon as it beats on its page.
func killedAgent(t *testing.T, p *patient) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.program, "agent")
	cmd.Dir, cmd.Env = p.dir, append(slices.Clone(p.env), "BUILDKIT_HOST=unix:///run/nowhere/buildkitd.sock")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(p.page) })
	eventually(t, "the agent has all slots of its page", time.Minute, func() bool {
		page, err := probe.Open(p.page)
		if err != nil {
			return false // not yet there, or not yet signed
		}
		defer func() { _ = page.Close() }() // it was only read
		// It claims six and says of three that they have nothing to do, of this one last.
		slots := page.Slots()
		last := slices.IndexFunc(slots, func(s probe.SlotStatus) bool { return s.Name == "report" })
		return len(slots) == 6 && last >= 0 && slots[last].State == probe.Stopped
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	return nil
}

// expiredCertificate makes a certificate of the client that has expired, in a copy of
// the directory.
func expiredCertificate(t *testing.T, p *patient) []string {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(0, 0, -1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"ca.pem":   []byte(read(t, filepath.Join(p.clients, "ca.pem"))),
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"BUILDKIT_TLS_DIR=" + dir}
}
