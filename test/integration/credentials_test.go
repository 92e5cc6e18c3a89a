package integration_test

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/entra/entratest"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

// credential is one way to register, and what must not be seen of it.
type credential struct {
	env    []string
	secret string
	file   string // that holds it; empty: none
}

// credentials are all ways by which a secret reaches an agent.
var credentials = map[string]func(*testing.T, lowly, *entratest.Server, *emulator.Config) credential{
	"a PAT": func(_ *testing.T, _ lowly, _ *entratest.Server, c *emulator.Config) credential {
		return credential{env: []string{"AZP_TOKEN=" + c.PAT.Reveal()}, secret: c.PAT.Reveal()}
	},
	"a PAT in a file": func(t *testing.T, l lowly, _ *entratest.Server, c *emulator.Config) credential {
		file := l.mount(t, "azp", c.PAT.Reveal())
		return credential{env: []string{"AZP_TOKEN_FILE=" + file}, secret: c.PAT.Reveal(), file: file}
	},
	"a client secret": func(_ *testing.T, _ lowly, tenant *entratest.Server, _ *emulator.Config) credential {
		return credential{env: inTenant(tenant, "AZURE_CLIENT_SECRET="+tenant.Secret), secret: tenant.Secret}
	},
	"a client secret in a file": func(t *testing.T, l lowly, tenant *entratest.Server, _ *emulator.Config) credential {
		file := l.mount(t, "entra", tenant.Secret)
		return credential{env: inTenant(tenant, "AZURE_CLIENT_SECRET_FILE="+file), secret: tenant.Secret, file: file}
	},
	"a PAT, and a federated token for registries": func(t *testing.T, l lowly, tenant *entratest.Server, c *emulator.Config) credential {
		token := tenant.FederatedToken()
		file := l.mount(t, "tokens", token)
		return credential{env: inTenant(tenant, "AZURE_FEDERATED_TOKEN_FILE="+file, "DOCKLESS_REGISTRY_IDENTITY=*.azurecr.io", "AZP_TOKEN="+c.PAT.Reveal()), secret: token, file: file}
	},
	"a federated token": func(t *testing.T, l lowly, tenant *entratest.Server, _ *emulator.Config) credential {
		token := tenant.FederatedToken()
		file := l.mount(t, "tokens", token)
		return credential{env: inTenant(tenant, "AZURE_FEDERATED_TOKEN_FILE="+file), secret: token, file: file}
	},
}

// inTenant are the settings of the tenant's application.
func inTenant(tenant *entratest.Server, more ...string) []string {
	return append([]string{
		"AZURE_AUTHORITY_HOST=" + tenant.URL, "AZURE_TENANT_ID=" + entratest.Tenant, "AZURE_CLIENT_ID=" + entratest.ClientID,
		"DOCKLESS_CA_FILE=" + tenant.CAFile,
	}, more...)
}

// place is a server, and an agent that registered with a credential.
type place struct {
	lowly
	credential
	srv   *emulatortest.Server
	state string // of the emulator: everything it was sent
	log   func() string
}

// withEveryCredential runs a test once for each way to register.
func withEveryCredential(t *testing.T, test func(*testing.T, place)) {
	t.Parallel()
	for name, set := range credentials {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, registered(t, set, false))
		})
	}
}

func registered(t *testing.T, set func(*testing.T, lowly, *entratest.Server, *emulator.Config) credential, mayGain bool) place {
	t.Helper()
	tenant := entratest.New(t)
	p := place{lowly: newLowly(t)}
	tenant.CAFile = p.publish(t, "ca.pem", read(t, tenant.CAFile))
	p.srv = emulatortest.New(t, func(c *emulator.Config) {
		c.PAT = mask.NewSecret("pat-" + uuid.NewString())
		c.AdminTokens = tenant.Accepts
		p.state = c.StateDir
		p.credential = set(t, p.lowly, tenant, c)
	})
	p.log = p.start(t, p.srv, mayGain, p.env...)
	return p
}

// wantCounts fails unless the job printed these numbers.
func (p place) wantCounts(t *testing.T, script, want, what string) (job.Report, job.ID) {
	t.Helper()
	got, report, id := does(t, p.srv, p.log, needle(p.secret)+script)
	if got != want {
		dumpLog(t, report)
		t.Errorf("%s = %s, want %s:\n%s", what, got, want, strings.Join(record(t, report, "Run bash").Log, "\n"))
	}
	return report, id
}

func TestACredentialIsInNoEnvironmentOfAJob(t *testing.T) {
	withEveryCredential(t, func(t *testing.T, p place) {
		p.wantCounts(t, `
env | grep -c -F -f <(needle)
env | grep -c -E '^(AZP_TOKEN|AZURE_CLIENT_SECRET|AZURE_CLIENT_CERTIFICATE|AZURE_FEDERATED)'
env | grep -c '^AZP_URL='
exit 0`, "0 0 1", "the credential, its settings, and AZP_URL in the environment")
	})
}

func TestACredentialIsNowhereInProc(t *testing.T) {
	withEveryCredential(t, func(t *testing.T, p place) {
		p.wantCounts(t, `
cat /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | grep -a -c -F -f <(needle)
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -a -c -F -f <(needle)
cat /proc/$PPID/mem /proc/$PPID/fd/* /proc/$PPID/fdinfo/* /proc/$PPID/task/*/environ 2>/dev/null | grep -a -c -F -f <(needle)
cat /proc/$PPID/root`+p.file+` /proc/[0-9]*/root`+p.file+` 2>/dev/null | grep -a -c -F -f <(needle)
tr '\0' '\n' </proc/$$/environ | grep -a -c '^AZP_URL='
exit 0`, "0 0 0 0 1", "the credential in environments, command lines, memory and root directories below /proc, and AZP_URL in the job's own")
	})
}

func TestACredentialIsInNoFileThatAJobCanRead(t *testing.T) {
	withEveryCredential(t, func(t *testing.T, p place) {
		script := `
grep -r -a -c -F -f <(needle) ` + p.dir + ` "$AGENT_TEMPDIRECTORY" "$AGENT_WORKFOLDER" 2>/dev/null | grep -v ':0$' | wc -l
grep -r -a -F -f <(needle) ` + p.mounts + ` 2>/dev/null | wc -l
`
		if p.file != "" {
			script += `
cat ` + p.file + ` | grep -c -F -f <(needle)
ln -s ` + p.file + ` link; cat link | grep -c -F -f <(needle)
ls ` + filepath.Dir(p.file) + ` | grep -c token
echo "##vso[task.uploadfile]` + p.file + `"
echo "##vso[task.addattachment type=t;name=n]$PWD/link"
`
			script = p.rotated(t) + script
		} else {
			script += "echo 0; echo 0; echo 1\n"
		}
		script += "cp /etc/hostname mine && mv mine \"$AGENT_TEMPDIRECTORY/mine\" && grep -c . \"$AGENT_TEMPDIRECTORY/mine\"\nexit 0"
		_, id := p.wantCounts(t, script, "0 0 0 0 1 1", "the credential below the agent's directories, below its mounts, in its file, through a link; its name, and a file of the job's own")
		if attached, err := p.srv.Attachments(id); err != nil || len(attached) != 0 {
			t.Errorf("attachments = %v, %v, want none of the hidden file", attached, err)
		}
		p.wantNothingSent(t)
		if strings.Contains(p.log(), p.secret) {
			t.Error("the agent's log shows the credential")
		}
		if strings.Contains(p.log(), "can read the file of its credential") {
			t.Errorf("the agent says that the file cannot be hidden:\n%s", p.log())
		}
	})
}

// rotated returns a script that waits until the file was replaced, as the kubelet
// does with a token that is renewed while a job runs.
func (p place) rotated(t *testing.T) (script string) {
	t.Helper()
	ready, dir := filepath.Join(p.dir, "ready"), filepath.Dir(p.file)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for end := time.Now().Add(time.Minute); time.Now().Before(end) && t.Context().Err() == nil; time.Sleep(10 * time.Millisecond) {
			if exists(ready) {
				p.rotate(t, dir, "..2026_2", p.secret)
				return
			}
		}
	}()
	t.Cleanup(func() { <-done })
	return "touch " + ready + "; until [ -L " + p.file + " -a \"$(readlink " + dir + "/..data)\" = ..2026_2 ]; do sleep 0.02; done\n"
}

// wantNothingSent searches everything that the server keeps.
func (p place) wantNothingSent(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(p.state, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(read(t, path), p.secret) {
			t.Errorf("the server was sent the credential: it is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// The test above would notice: where the file cannot be hidden, a job reads it,
// and the agent has said so.
func TestAFileThatCannotBeHiddenIsSaidAtTheStart(t *testing.T) {
	t.Parallel()
	p := registered(t, credentials["a PAT in a file"], true)
	p.wantCounts(t, "cat "+p.file+" | grep -c -F -f <(needle)\nexit 0", "1", "the credential in its file")
	if log := p.log(); !strings.Contains(log, "can read the file of its credential") || !strings.Contains(log, "allowPrivilegeEscalation: false") {
		t.Errorf("the agent does not say that jobs can read the file, or not what to do:\n%s", log)
	}
}
