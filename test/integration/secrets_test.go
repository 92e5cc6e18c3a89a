package integration_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/stage"
)

// theSecret has what every encoding changes: a quote, a slash, a plus, a percent
// sign, a blank and a letter outside of ASCII.
const theSecret = `s3cr3t/+%"pä ss`

// leak prints the secret in every way the issue names, from the environment.
const leak = `
printf '%s\n' "raw $S end"
printf '%s' "$S" | base64 -w0; echo
printf '%s\n' "$URL_ENCODED"
printf '%s\n' "$JSON_ESCAPED"
python3 -c 'import os,sys,time
for c in os.environb[b"S"]:
    os.write(1, bytes([c]))
os.write(1, b"\n")' 2>/dev/null || for ((i=0; i<${#S}; i++)); do printf '%s' "${S:i:1}"; done; echo
mkdir -p "$D" && touch "$D/${S//\//_}"; ls "$D" | sed 's#_#/#'
echo "##vso[task.logissue type=error]it is $S"
echo "##vso[task.setprogress value=50]at $S"
printf '%s' "$S" >&2; printf 'and no newline at the end %s' "$S"
`

// scriptMessage is a job with one Bash step.
func scriptMessage(script string, variables map[string]job.Variable, env map[string]string) *job.Message {
	plan := uuid.NewString()
	return &job.Message{
		MessageType: job.MessageTypeRequest,
		Plan:        job.Plan{ScopeIdentifier: uuid.NewString(), PlanType: "Build", Version: 9, PlanID: job.PlanID(plan)},
		Timeline:    job.TimelineReference{ID: job.TimelineID(plan)},
		JobID:       job.ID(uuid.NewString()), JobName: "__default", JobDisplayName: "Job",
		Variables: variables,
		Steps: []job.Step{{
			Type: "task", ID: job.NewRecordID(), Name: "leak", DisplayName: "Leak",
			Reference:   job.TaskReference{ID: "6c731c3c-3c68-459a-a5c9-bde6e6595b5b", Name: "Bash", Version: "3.278.0"},
			Inputs:      map[string]string{"targetType": "inline", "script": script},
			Environment: env,
		}},
	}
}

func TestASecretReachesNoOutputInAnyForm(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	a := startAgent(t, s, stage.AgentOptions{Env: append(alone, "LOG_LEVEL=debug")})
	escaped, err := json.Marshal(theSecret)
	if err != nil {
		t.Fatal(err)
	}
	encoded := url.QueryEscape(theSecret)
	m := scriptMessage(leak, map[string]job.Variable{"password": {Value: theSecret, IsSecret: true}}, map[string]string{
		"S": "$(password)", "D": filepath.Join(s.Dir, "names"),
		"URL_ENCODED": encoded, "JSON_ESCAPED": strings.Trim(string(escaped), `"`),
	})
	j, err := s.QueueMessage(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	var feed strings.Builder
	if err := s.Follow(t.Context(), j.ID, func(line string) { feed.WriteString(line + "\n") }); err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	report, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	outputs := map[string]string{"feed": feed.String(), "report": string(report), "log of the agent": read(t, a.Log)}
	err = filepath.WalkDir(filepath.Join(s.Dir, "emulator"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			outputs[path] = read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]string{
		"raw": theSecret, "base64": base64.StdEncoding.EncodeToString([]byte(theSecret)), "URL-encoded": encoded,
		"URL path-encoded": url.PathEscape(theSecret), "JSON-escaped": strings.Trim(string(escaped), `"`),
		// Long enough that no other text holds it by accident.
		"the first half": theSecret[:8], "the second half": theSecret[8:],
	}
	for where, text := range outputs {
		for form, secret := range forms {
			if strings.Contains(text, secret) {
				t.Errorf("the secret, %s, is in the %s", form, where)
			}
		}
	}
	step := strings.Join(record(t, r, "Leak").Log, "\n")
	if !strings.Contains(step, "raw *** end") || strings.Count(step, "***") < 6 {
		t.Errorf("the log of the step hides too little or too much:\n%s", step)
	}
	if len(outputs) < 5 {
		t.Errorf("only %d outputs were searched, so the test shows little", len(outputs))
	}
}

func TestTheTokenIsInNoEnvironmentOfAJob(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	startAgent(t, s, stage.AgentOptions{Env: alone})
	// A step that runs as the agent's own user looks where it can.
	j, err := s.QueueMessage(t.Context(), scriptMessage(`
env | grep -c AZP_TOKEN
tr '\0' '\n' < /proc/$PPID/environ | grep -a -c 'AZP_TOKEN=`+stage.PAT+`'
tr '\0' '\n' < /proc/$PPID/environ | grep -a -c '^PATH='
true`, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	log := record(t, r, "Leak").Log
	if got := strings.Join(counts(log), " "); got != "0 0 1" {
		dumpLog(t, r)
		t.Errorf("found in environment, in the agent's /proc, and PATH there = %s, want 0 0 1", got)
	}
}

// counts picks the lines that are a number.
func counts(log []string) []string {
	var out []string
	for _, line := range log {
		if line != "" && strings.Trim(line, "0123456789") == "" {
			out = append(out, line)
		}
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
