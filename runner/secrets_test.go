package runner_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

const secret = `h&nter2 "q" /x`

// sources are the ways in which a job learns of a secret.
func sources() map[string]func(m *job.Message) {
	endpoint := func(parameters map[string]string) func(m *job.Message) {
		return func(m *job.Message) {
			m.Resources.Endpoints = []job.Endpoint{{ID: "E", Name: "e", Authorization: job.Authorization{Scheme: "UsernamePassword", Parameters: parameters}}}
		}
	}
	first := func(text string) func(m *job.Message) {
		return func(m *job.Message) { m.Steps = append([]job.Step{script("first", text)}, m.Steps...) }
	}
	return map[string]func(m *job.Message){
		"variable": func(m *job.Message) { m.Variables["pw"] = job.Variable{Value: secret, IsSecret: true} },
		"mask hint": func(m *job.Message) {
			m.Mask = []job.MaskHint{{Type: "regex", Value: regexp.QuoteMeta(secret)}}
		},
		"endpoint":    endpoint(map[string]string{"Password": secret}),
		"secure file": func(m *job.Message) { m.Resources.SecureFiles = []job.SecureFile{{Ticket: secret}} },
		"setvariable": first(`printf '##vso[task.setvariable variable=a;issecret=true]%s\n' "$RAW"`),
		"setsecret":   first(`printf '##vso[task.setsecret]%s\n' "$RAW"`),
		"derived": func(m *job.Message) {
			m.Variables["half"] = job.Variable{Value: secret, IsSecret: true}
			m.Variables["whole"] = job.Variable{Value: "$(half)"}
		},
	}
}

// No secret leaves the runner, whatever a step does with it.
func TestA25NoSecretReachesAnyOutput(t *testing.T) {
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]string{
		"raw": secret, "base64": base64.StdEncoding.EncodeToString([]byte(secret)), "URL": url.QueryEscape(secret),
		"URI": url.PathEscape(secret), "JSON": strings.Trim(string(quoted), `"`),
		"hex": fmt.Sprintf("%x", secret), "printf %q": `h\&nter2\ \"q\"\ /x`,
		"base64 of more": base64.StdEncoding.EncodeToString([]byte("user:" + secret)),
	}
	// A script shows the text in $FORM in these ways.
	ways := `
printf '%s\n' "$FORM"
printf 'before%safter' "$FORM"; printf '\n'
for ((i=0; i<${#FORM}; i++)); do printf '%s' "${FORM:i:1}"; done; echo
printf '%s\n' "$FORM" >&2
printf '##vso[task.logissue type=error]%s\n' "$FORM"
printf '##vso[task.setprogress value=5]%s\n' "$FORM"
printf '##vso[task.debug]%s\n' "$FORM"
printf '##vso[broken %s\n' "$FORM"
printf '##vso[no.such %s]%s\n' "$FORM" "$FORM"
printf '##vso[task.setvariable variable=copy]%s\n' "$FORM"
printf '##vso[task.setvariable variable=copied;isOutput=true]%s\n' "$FORM"
printf '##vso[task.uploadfile]/nonexistent/%s\n' "$FORM"
printf '##vso[task.complete result=Failed]%s\n' "$FORM"
cd "/nonexistent/$FORM"
`
	for source, prepare := range sources() {
		for form, text := range forms {
			t.Run(source+"/"+form, func(t *testing.T) {
				t.Parallel()
				var log bytes.Buffer
				shows := func(s *job.Step) { s.Environment = map[string]string{"FORM": text} }
				m := message(script("show", ways, shows),
					script("stderr", `printf '%s\n' "$FORM" >&2`, shows, condition("always()"), func(s *job.Step) { s.Inputs["failOnStderr"] = "true" }),
					script("name "+text, "true", condition("always()"), func(s *job.Step) { s.Inputs["workingDirectory"] = "/nonexistent/" + text }))
				prepare(m)
				for i := range m.Steps {
					if m.Steps[i].Environment == nil {
						m.Steps[i].Environment = map[string]string{}
					}
					m.Steps[i].Environment["RAW"] = secret
				}
				cfg := config(t)
				rec := newRecorder()
				r, err := runner.New(cfg, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
				if err != nil {
					t.Fatal(err)
				}
				out, err := r.Run(t.Context(), m, rec)
				if err != nil {
					t.Fatal(err)
				}
				for what, all := range map[string]string{"reporter": rec.everything(), "outcome": fmt.Sprint(out), "slog": log.String()} {
					if at := strings.Index(all, text); at >= 0 {
						// The name of a step is expanded before it runs, so a secret that a step tells comes too late for it.
						if strings.HasPrefix(source, "set") && strings.Contains(all[max(0, at-40):at], "name ") {
							continue
						}
						t.Errorf("%s has the secret: …%s…", what, all[max(0, at-80):min(len(all), at+len(text)+40)])
					}
				}
				noSecretOnDisk(t, cfg.Work, secret)
			})
		}
	}
}

// noSecretOnDisk checks that no file below dir has the secret in it.
func noSecretOnDisk(t *testing.T, dir, secret string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("%s has the secret in it", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestASecretWithLineBreaksIsRefused(t *testing.T) {
	m := message(script("s", `echo '##vso[task.setvariable variable=k;issecret=true]line one%0Aline two'`))
	rec, _ := run(t, config(t), m)
	r := rec.record(t, "s")
	if r.Result != job.Failed || strings.Contains(rec.everything(), "line one\nline two") {
		t.Errorf("step %s, want failed", r.Result)
	}
	cfg := config(t)
	cfg.Environment = append(cfg.Environment, "SYSTEM_UNSAFEALLOWMULTILINESECRET=true")
	rec, _ = run(t, cfg, m)
	if got := rec.record(t, "s").Result; got != job.Succeeded {
		t.Errorf("with the knob: %s, want succeeded", got)
	}
}

// Such a secret hides half of the log; nobody would know why. What the warning
// says must not tell the secret.
func TestAShortSecretIsWarnedOfOnce(t *testing.T) {
	set := script("s", `
echo '##vso[task.setsecret]q7'
echo '##vso[task.setsecret]q7'
echo '##vso[task.setvariable variable=v;issecret=true]q7'
echo '##vso[task.setvariable variable=w;issecret=true]j8w'
echo '##vso[task.setsecret]long enough'
echo 'a q7 b'`)
	m := message(set)
	m.Variables["pin"] = job.Variable{Value: "z9", IsSecret: true}
	m.Variables["same"] = job.Variable{Value: "z9", IsSecret: true}
	m.Variables["long"] = job.Variable{Value: "z9z9", IsSecret: true}
	m.Variables["none"] = job.Variable{IsSecret: true}
	m.Resources.Endpoints = []job.Endpoint{{ID: "E", Name: "registry", Authorization: job.Authorization{Parameters: map[string]string{"username": "x5", "role": "y6"}}}}
	m.Mask = []job.MaskHint{{Type: "regex", Value: "z9"}, {Type: "regex", Value: `k\.4`}}

	const rest = " has fewer than four characters; everything that looks like it is hidden in the logs. With AZP_IGNORE_SECRETS_SHORTER_THAN=4 in its environment the agent leaves such values alone."
	cfg := config(t)
	rec, out := run(t, cfg, m)
	for record, want := range map[string][]string{
		"Initialize job": {"Secret variable pin", "Parameter username of service connection registry", "The text of mask hint 2"},
		"s":              {"A secret that the step set", "A secret that the step set"},
	} {
		var got []string
		for _, issue := range rec.record(t, record).Issues {
			text, ok := strings.CutSuffix(issue.Message, rest)
			if !ok || issue.Type != job.Warning {
				t.Errorf("%s has the issue %+v", record, issue)
			}
			got = append(got, text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s warns of %q, want %q", record, got, want)
		}
	}
	if all := rec.everything(); out.Result != job.Succeeded || strings.Contains(all, "z9") || strings.Contains(all, "q7") || strings.Contains(all, "x5") {
		t.Errorf("job %s; a secret is shown in %s", out.Result, all)
	}

	cfg = config(t)
	cfg.Environment = append(cfg.Environment, "AZP_IGNORE_SECRETS_SHORTER_THAN=4")
	rec, _ = run(t, cfg, m)
	for _, record := range []string{"Initialize job", "s"} {
		if issues := rec.record(t, record).Issues; len(issues) > 0 {
			t.Errorf("%s has issues though short secrets are not hidden: %+v", record, issues)
		}
	}
}

// A tag in front of each line would hide such a secret from the masks.
func TestASecretWithLineBreaksIsMaskedInDebugLines(t *testing.T) {
	m := message(script("s", `echo '##vso[task.setsecret]line one%0Aline two'; echo '##vso[task.debug]line one%0Aline two'; printf 'line one\nline two\n'`))
	m.Variables["system.debug"] = job.Variable{Value: "true"}
	rec, _ := run(t, config(t), m)
	if all := strings.Join(rec.output(t, "s"), "\n"); strings.Contains(all, "line one") || strings.Contains(all, "line two") {
		t.Errorf("the secret is shown:\n%s", all)
	}
}

// Everybody on a machine can read command lines.
func TestNoSecretIsOnACommandLine(t *testing.T) {
	const password = "hunter22-of-this-test"
	m := message(
		script("inline", `echo ready; x=$(pw); read -r -t 2 < "$PIPES/one"; echo ${#x}`),
		script("environment", `echo ready; read -r -t 2 < "$PIPES/two"; echo ${#PW}`, func(s *job.Step) { s.Environment = map[string]string{"PW": "$(pw)"} }))
	m.Variables["pw"] = job.Variable{Value: password, IsSecret: true}
	cfg, dir := config(t), t.TempDir()
	cfg.Environment = append(cfg.Environment, "PIPES="+dir)
	pipes := []string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}
	for _, p := range pipes {
		if err := syscall.Mkfifo(p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rec, looked := newRecorder(), 0
	rec.onLine = func(_ job.Record, line string) {
		if line != "ready" || looked == len(pipes) {
			return
		}
		if onCommandLine(t, password) {
			t.Error("a process of the step has the secret on its command line")
		}
		p, err := os.OpenFile(pipes[looked], os.O_RDWR, 0)
		if err != nil {
			t.Error(err)
			return
		}
		looked++
		t.Cleanup(func() { _ = p.Close() })
		if _, err := p.WriteString("go on\n"); err != nil {
			t.Error(err)
		}
	}
	out := runWith(t, cfg, m, rec)
	if got := rec.output(t, "environment"); out.Result != job.Succeeded || looked != len(pipes) || strings.Join(got, " ") != "ready 21" {
		t.Errorf("job %s, looked %d times, output %q", out.Result, looked, got)
	}
}

func TestScriptsAreWrittenForThisUserOnlyAndRemoved(t *testing.T) {
	cfg := config(t)
	rec, _ := run(t, cfg, message(script("s", `stat -c %a "$0"; stat -c %a "$(dirname "$0")"`), script("next", `ls "$AGENT_TEMPDIRECTORY" | wc -l`)))
	if got := rec.output(t, "s"); strings.Join(got, " ") != "600 700" {
		t.Errorf("modes of script and temp directory = %q, want 600 700", got)
	}
	if got := rec.output(t, "next"); strings.Join(got, "") != "1" {
		t.Errorf("files in the temp directory while a script runs = %q, want its own only", got)
	}
	if left, err := os.ReadDir(filepath.Join(cfg.Work, "_temp")); err != nil || len(left) != 0 {
		t.Errorf("left in the temp directory: %v, %v", left, err)
	}
}

func TestVariablesCannotCommandTheAgent(t *testing.T) {
	m := message(script("s", `echo "$BUILD_SOURCEVERSIONMESSAGE"`))
	m.Variables["build.sourceVersionMessage"] = job.Variable{Value: "##VSO[task.complete result=Failed]x ##vso[task.complete result=Failed]", IsReadOnly: true}
	rec, out := run(t, config(t), m)
	if out.Result != job.Succeeded || !strings.HasPrefix(strings.Join(rec.output(t, "s"), ""), "**VSO[") {
		t.Errorf("job %s, output %q", out.Result, rec.output(t, "s"))
	}
}

func TestAttachmentsShowNoSecret(t *testing.T) {
	const password = "hunter22"
	file := filepath.Join(t.TempDir(), password+".md")
	write(t, file, "it is "+password)
	m := message(script("s", "echo '##vso[task.uploadsummary]"+file+"'; echo '##vso[task.uploadfile]"+file+"'; ls "+filepath.Dir(file)))
	m.Variables["pw"] = job.Variable{Value: password, IsSecret: true}
	rec, out := run(t, config(t), m)
	if out.Result != job.Succeeded || len(rec.attachments) != 2 {
		t.Fatalf("job %s with %d attachments", out.Result, len(rec.attachments))
	}
	for _, a := range rec.attachments {
		if a.Name != "***.md" || string(a.Content) != "it is ***" {
			t.Errorf("attachment of type %s = %s %q", a.Type, a.Name, a.Content)
		}
	}
	if got := rec.output(t, "s"); len(got) != 1 || got[0] != "***.md" {
		t.Errorf("output = %q, want the masked name", got)
	}
}

func TestAttachmentsInAnyEncodingShowNoSecret(t *testing.T) {
	dir := t.TempDir()
	latin, wide := filepath.Join(dir, "latin.txt"), filepath.Join(dir, "wide.txt")
	write(t, latin, "caf\xe9 hunter22")
	write(t, wide, "\xff\xfeh\x00u\x00n\x00t\x00e\x00r\x002\x002\x00")
	m := message(script("s", "echo '##vso[task.uploadfile]"+latin+"'; echo '##vso[task.uploadfile]"+wide+"'"))
	m.Variables["pw"] = job.Variable{Value: "hunter22", IsSecret: true}
	rec, _ := run(t, config(t), m)
	if len(rec.attachments) != 2 || string(rec.attachments[0].Content) != "caf\xe9 ***" || string(rec.attachments[1].Content) != "\xff\xfe*\x00*\x00*\x00" {
		t.Errorf("attachments = %q", rec.attachments)
	}
}

// An archive with a byte changed is no archive any more.
func TestAttachmentsThatAreNoTextStayAsTheyAre(t *testing.T) {
	file := filepath.Join(t.TempDir(), "archive")
	content := "PK\x03\x04\x00hunter22\xff"
	write(t, file, content)
	m := message(script("s", "echo '##vso[task.uploadfile]"+file+"'"))
	m.Variables["pw"] = job.Variable{Value: "hunter22", IsSecret: true}
	rec, _ := run(t, config(t), m)
	if len(rec.attachments) != 1 || string(rec.attachments[0].Content) != content {
		t.Errorf("attachments = %q, want the file as it is", rec.attachments)
	}
}
