package integration_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/entra/entratest"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/test/rig"
)

// patient is a whole and healthy place for an agent: Azure DevOps over TLS with an
// authority of the company's own, BuildKit on a unix socket and over mutual TLS,
// Podman, and a registry for caches.
type patient struct {
	srv       *emulatortest.Server
	tls       *httptest.Server
	buildkitd *rig.Buildkitd
	podman    *rig.Podman
	registry  *rig.Registry
	store     string // of the registry
	tenant    *entratest.Server

	dir     string // which every user may enter
	program string
	clients string // directory of the client's certificates for buildkitd
	page    string // file of the probe page, which nobody made yet
	env     []string
	names   []string // what is different in each run, and what the page says instead
}

// tokens are those of the emulator besides the one that opens everything.
var tokens = map[string]emulator.Token{
	"no-scope":   {Scope: emulator.ScopeOther, Roles: map[string]emulator.Role{"Default": emulator.RoleAdministrator}},
	"read-scope": {Scope: emulator.ScopeRead, Roles: map[string]emulator.Role{"Default": emulator.RoleAdministrator}},
	"reader":     {Scope: emulator.ScopeManage, Roles: map[string]emulator.Role{"Default": emulator.RoleReader}},
	"stranger":   {Scope: emulator.ScopeManage, Roles: map[string]emulator.Role{"Other": emulator.RoleAdministrator}},
}

// smallPolicy are limits of a cache that hold on a disk of 160 MB.
const smallPolicy = `
[[worker.oci.gcpolicy]]
  all = true
  reservedSpace = "16MB"
  maxUsedSpace = "100MB"
  minFreeSpace = "20MB"
`

func needPatient(t *testing.T) *patient {
	t.Helper()
	dir, err := os.MkdirTemp("", "doctor-") //nolint:usetesting // another user cannot enter t.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // what is mounted in it is gone by then
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &patient{dir: dir, page: filepath.Join("/dev/shm", "doctor-"+uuid.NewString())}
	p.tenant = entratest.New(t)
	p.srv = emulatortest.New(t, func(c *emulator.Config) {
		c.AdminTokens = p.tenant.Accepts
		c.Pools = append(c.Pools, "Other")
		for secret, token := range tokens {
			token.Secret = mask.NewSecret(secret)
			c.Tokens = append(c.Tokens, token)
		}
	})
	p.tls = httptest.NewUnstartedServer(p.srv.Server)
	p.tls.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it are wanted
	p.tls.StartTLS()
	t.Cleanup(p.tls.Close)
	authority := p.write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.tls.Certificate().Raw})))
	var server string
	server, p.clients = certificates(t)
	p.buildkitd = rig.NeedBuildkitd(t, rig.BuildkitdOptions{TCP: true, Disk: 160 * megabyte, Extra: smallPolicy, TLS: &rig.TLSFiles{
		CA: filepath.Join(server, "ca.pem"), Cert: filepath.Join(server, "cert.pem"), Key: filepath.Join(server, "key.pem"),
	}})
	p.podman = rig.NeedPodman(t, rig.PodmanOptions{})
	p.store = t.TempDir()
	p.registry = rig.NeedRegistry(t, rig.RegistryOptions{Dir: p.store})
	program, err := os.ReadFile(rig.NeedBin(t, "dockless"))
	if err != nil {
		t.Fatal(err)
	}
	p.program = p.write(t, "dockless", string(program))
	if err := os.Chmod(p.program, 0o755); err != nil {
		t.Fatal(err)
	}
	p.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "DOCKER_CONFIG=" + filepath.Join(dir, "docker"),
		"AZP_URL=" + p.tls.URL, "AZP_TOKEN=" + p.srv.PAT.Reveal(), "AZP_AGENT_NAME=patient", "DOCKLESS_CA_FILE=" + authority,
		"AZP_WORK=" + filepath.Join(dir, "work"), "DOCKLESS_STATE_DIR=" + filepath.Join(dir, "state"), "DOCKLESS_PROBE_FILE=" + p.page,
		"BUILDKIT_HOST=" + p.buildkitd.Addr() + "," + p.buildkitd.TCPAddr(), "BUILDKIT_TLS_DIR=" + p.clients,
		"CONTAINER_HOST=" + p.podman.Addr(), "DOCKLESS_CACHE_REPO=" + p.registry.Addr() + "/cache",
	}
	p.names = []string{
		p.tls.URL, "https://devops.example", strings.TrimPrefix(p.tls.URL, "https://"), "devops.example", p.buildkitd.Addr(), "unix:///run/buildkit/buildkitd.sock",
		strings.TrimPrefix(p.buildkitd.Addr(), "unix://"), "/run/buildkit/buildkitd.sock",
		p.buildkitd.TCPAddr(), "tcp://buildkitd:1234", p.podman.Addr(), "unix:///run/podman/podman.sock", p.podman.Socket(), "/run/podman/podman.sock",
		p.registry.Addr(), "registry.example:5000", p.page, "/dev/shm/dockless", p.clients, "/etc/buildkit", dir, "/home/agent",
	}
	return p
}

// asIdentity are the settings with which the agent signs in as an Azure identity.
func (p *patient) asIdentity(secret string) []string {
	return inTenant(p.tenant, "AZP_TOKEN=", "AZP_AUTH=azure", "AZURE_CLIENT_SECRET="+secret)
}

// write makes a file in the patient's directory and returns its path.
func (p *patient) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// finding is what doctor said of one thing.
type finding struct{ Group, Check, Name, Status, Detail, Hint string }

// diagnosis is what doctor said.
type diagnosis struct {
	Checks  []finding
	Seconds float64

	code  int
	table string
}

// examine runs doctor, with settings of its own and as another user if uid is not
// zero. It asks twice: everything, unless the group is to be asked alone, for programs,
// and the group for people.
func (p *patient) examine(t *testing.T, uid int, env []string, group string, alone bool) diagnosis {
	t.Helper()
	ask := func(args ...string) (string, int) {
		cmd := exec.CommandContext(t.Context(), p.program, append([]string{"doctor"}, args...)...)
		cmd.Dir, cmd.Env = p.dir, append(slices.Clone(p.env), env...)
		if uid != 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Error(err)
			return "", -1
		}
		if stderr.Len() > 0 {
			t.Errorf("doctor wrote to stderr:\n%s", stderr.String())
		}
		if secret := p.srv.PAT.Reveal(); strings.Contains(stdout.String(), secret) {
			t.Error("doctor shows the token")
		}
		return stdout.String(), cmd.ProcessState.ExitCode()
	}
	var d diagnosis
	var both sync.WaitGroup
	both.Go(func() { d.table, _ = ask("--only", group) })
	args := []string{"--output", "json"}
	if alone {
		args = append(args, "--only", group)
	}
	text, code := ask(args...)
	both.Wait()
	d.code = code
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatalf("doctor: %v\n%s", err, text)
	}
	// A node that answers late is the load of this machine, on which two ask at once.
	d.Checks = slices.DeleteFunc(d.Checks, func(c finding) bool {
		return c.Status == "warn" && strings.HasPrefix(c.Hint, "look at the network to the node and at its load")
	})
	return d
}

// findings are the results that are neither well nor skipped, as "status name".
func (d diagnosis) findings() []string {
	var out []string
	for _, c := range d.Checks {
		if c.Status != "ok" && c.Status != "skip" {
			out = append(out, c.Status+" "+c.Name)
		}
	}
	return out
}

// volatile is what differs from one run to the next besides names.
var volatile = []struct {
	form *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d(T[\d:]+Z)?`), "2026-12-31"},
	{regexp.MustCompile(`SHA-256 [0-9a-f]{64}`), "SHA-256 …"},
	{regexp.MustCompile(`serial [0-9a-f]+`), "serial …"},
	{regexp.MustCompile(`process \d+`), "process 4711"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "10.0.0.1:443"},
	{regexp.MustCompile(`\b(9m59s|10m1s)\b`), "10m0s"}, // the date has whole seconds
	{regexp.MustCompile(`\b1m(29|31)s\b`), "1m30s"},
	{regexp.MustCompile(`(read|write) (tcp|unix) \S+->\S+: `), ""},
	{regexp.MustCompile(`dockless-[a-z]+-\d+`), "dockless"},
	// Which of the two is over first is a matter of how long the start took.
	{regexp.MustCompile(`not done within \S+, which is the time for all checks`), "no answer within 4s"},
}

// general is a text of one run as the page shows it.
func (p *patient) general(text string, more []string) string {
	text = strings.NewReplacer(append(slices.Clone(more), p.names...)...).Replace(text)
	for _, v := range volatile {
		text = v.form.ReplaceAllString(text, v.name)
	}
	return text
}

// smallVolume mounts a tmpfs of some megabytes, fills it, and returns where it is.
func (p *patient) smallVolume(t *testing.T, name string, megabytes int) string {
	t.Helper()
	dir := filepath.Join(p.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Fatalf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	fill(t, dir)
	return dir
}

// fill writes to a small disk until it is full, and takes that back at the test's end.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(f.Name()) }) // or the disk went
	for chunk := make([]byte, megabyte); err == nil; {
		_, err = f.Write(chunk)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
