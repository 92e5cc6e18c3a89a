package stackcmd

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/podmanrun"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLettersOfStackMeanWhatTheyDoForDockerCompose(t *testing.T) {
	for typed, want := range map[string]string{
		"stack -p shop run -p 80 web":           "stack --project-name shop run -p 80 web",
		"stack -pshop run web":                  "stack --project-name=shop run web",
		"stack -f a.yml -p shop up -p x":        "stack -f a.yml --project-name shop up -p x",
		"stack --profile p -p shop ps":          "stack --profile p --project-name shop ps",
		"stack --profile=p -p shop ps":          "stack --profile=p --project-name shop ps",
		"stack -h -p shop":                      "stack -h --project-name shop",
		"stack run -p 80 web":                   "stack run -p 80 web",
		"stack logs -f":                         "stack logs --follow",
		"stack logs -f web":                     "stack logs --follow web",
		"stack logs -f compose.yml web":         "stack logs -f compose.yml web",
		"stack -f compose.yml logs -n 3 -f web": "stack -f compose.yml logs -n 3 --follow web",
		"stack logs -- -f":                      "stack logs -- -f",
		"build -p x":                            "build -p x",
		"stack -p":                              "stack --project-name",
		"stack":                                 "stack",
	} {
		got := Arguments(strings.Fields(typed))
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", typed, diff)
		}
	}
}

func TestLinesOfServicesAreAlignedAndColoured(t *testing.T) {
	var out bytes.Buffer
	p := (&lineFlags{}).printer(&out, []string{"db", "website"})
	p.line("db", "ready")
	p.line("website", "up")
	p.line("db-2", "also ready")
	if want := "db       | ready\nwebsite  | up\ndb-2     | also ready\n"; out.String() != want {
		t.Errorf("without colours:\n%s, want\n%s", out.String(), want)
	}
	out.Reset()
	p.colour = true
	p.line("db", "\x1b[31mred\x1b[0m")
	p.line("website", "")
	if want := "\x1b[36mdb     \x1b[0m  | \x1b[31mred\x1b[0m\n\x1b[33mwebsite\x1b[0m  | \n"; out.String() != want {
		t.Errorf("with colours:\n%q, want\n%q", out.String(), want)
	}
	out.Reset()
	p.prefix = false
	p.line("db", "bare")
	if out.String() != "bare\n" {
		t.Errorf("without names: %q", out.String())
	}
}

func TestATimeIsAMomentOrHowLongAgoItWas(t *testing.T) {
	if at, err := moment("2026-01-02T15:04:05Z"); err != nil || at.Unix() != 1767366245 {
		t.Errorf("moment of a time = %v, %v", at, err)
	}
	if at, err := moment("10m"); err != nil || time.Since(at) < 10*time.Minute || time.Since(at) > 11*time.Minute {
		t.Errorf("moment(10m) = %v, %v", at, err)
	}
	for _, text := range []string{"never", "-10m", "2026-13-01"} {
		if at, err := moment(text); err == nil {
			t.Errorf("moment(%s) = %v, want an error", text, at)
		}
	}
}

func TestADurationMayBeANumberOfSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{"10": 10 * time.Second, "1m30s": 90 * time.Second, "0": 0} {
		var s seconds
		if err := s.Set(text); err != nil || s.value != want || s.pointer() == nil {
			t.Errorf("Set(%s) = %v with %s, want %s", text, err, s.value, want)
		}
	}
	for _, text := range []string{"", "-1s", "soon", "99999999999"} {
		if err := new(seconds).Set(text); err == nil {
			t.Errorf("Set(%q) takes it", text)
		}
	}
	if new(seconds).pointer() != nil {
		t.Error("a flag that was not given has a value")
	}
}

func TestPathsOfContainersAreToldFromThoseOfThisMachine(t *testing.T) {
	for arg, want := range map[string][2]string{
		"web:/etc": {"web", "/etc"}, "web:": {"web", "/"}, "web-1:etc": {"web-1", "etc"},
		"./a:b": {"", "./a:b"}, "a/b:c": {"", "a/b:c"}, "plain": {"", "plain"}, "-": {"", "-"}, "../x:y": {"", "../x:y"}, ":/x": {"", ":/x"},
	} {
		service, path, in := cutServicePath(arg)
		if got := [2]string{service, path}; got != want || in != (want[0] != "") {
			t.Errorf("cutServicePath(%q) = %q, %t, want %q", arg, got, in, want)
		}
	}
}

func TestJobsOfOnePodmanAreToldApart(t *testing.T) {
	const always = "12f1170f-54f2-53f3-20dd-22fc7dff55f9" // of every job that has no name
	seen := make(map[string]bool)
	for _, owner := range []podmanrun.Owner{{Agent: "a-1", Job: always}, {Agent: "a-2", Job: always}, {Agent: "a-1", Job: "12f1170f-0000-53f3-20dd-22fc7dff55f9"}} {
		seen[mark(owner)] = true
	}
	if len(seen) != 3 {
		t.Errorf("three jobs have the marks %v", seen)
	}
	if got := mark(podmanrun.Owner{Agent: "a-1", Job: always}); len(got) != 8 || !seen[got] {
		t.Errorf("a job's mark is %q, and another one the second time", got)
	}
}

func TestASessionEndsWithTheServiceThatIsNamed(t *testing.T) {
	p := testProject(t, `
name: suite
services:
  migrate: {image: m}
  db: {image: d}
  tests: {image: t, depends_on: {migrate: {condition: service_completed_successfully}, db: {condition: service_started}}}
`)
	ended := func(service, code string) podmanrun.Event {
		return podmanrun.Event{Service: service, Kind: podmanrun.EventExited, Text: code}
	}
	for name, c := range map[string]struct {
		flags  attachedFlags
		events []podmanrun.Event
		ends   int // the event that ends it, counted from 1; zero is none
		code   int // -1 is unknown
	}{
		"a service that is waited for has done its work": {attachedFlags{exitCodeFrom: "tests"}, []podmanrun.Event{ended("migrate", "0"), ended("tests", "3")}, 2, 3},
		"another one ends first":                         {attachedFlags{exitCodeFrom: "tests"}, []podmanrun.Event{ended("db", "1"), ended("tests", "143")}, 1, 143},
		"the service has not ended":                      {attachedFlags{exitCodeFrom: "tests"}, []podmanrun.Event{ended("db", "1")}, 1, -1},
		"any end":                                        {attachedFlags{onExit: true}, []podmanrun.Event{ended("migrate", "0"), ended("db", "7"), ended("tests", "143")}, 2, 7},
		"any end, but another's code":                    {attachedFlags{onExit: true, exitCodeFrom: "tests"}, []podmanrun.Event{ended("db", "7"), ended("tests", "2")}, 1, 2},
		"a failure":                                      {attachedFlags{onFailure: true}, []podmanrun.Event{ended("db", "0"), ended("tests", "4")}, 2, 4},
		"a failure, or the end of one":                   {attachedFlags{onFailure: true, exitCodeFrom: "tests"}, []podmanrun.Event{ended("db", "0"), ended("tests", "0")}, 2, 0},
		"what was waited for failed":                     {attachedFlags{onFailure: true}, []podmanrun.Event{ended("migrate", "5")}, 1, 5},
		"nothing is asked for":                           {attachedFlags{}, []podmanrun.Event{ended("db", "7"), {Service: "tests", Kind: podmanrun.EventUnhealthy}}, 0, -1},
	} {
		t.Run(name, func(t *testing.T) {
			v := c.flags.verdict(p)
			first := 0
			for i, e := range c.events {
				if v.ends(e) && first == 0 {
					first = i + 1
				}
			}
			code := -1
			if v.code != nil {
				code = *v.code
			}
			if first != c.ends || code != c.code {
				t.Errorf("event %d ends it, with code %d; want event %d and code %d", first, code, c.ends, c.code)
			}
		})
	}
}

// testProject reads a compose file.
func testProject(t *testing.T, text string) *podmanrun.Project {
	t.Helper()
	file := filepath.Join(t.TempDir(), "compose.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestADockerfileIsSoughtInItsContext(t *testing.T) {
	for from, want := range map[string]string{
		"/src/app": "/src/app/docker/app.Dockerfile", "git@host:org/repo.git": "docker/app.Dockerfile",
		"https://host/org/repo.git#main": "docker/app.Dockerfile", "github.com/org/repo": "docker/app.Dockerfile",
	} {
		r, err := (&stackImages{}).request(t.Context(), podmanrun.BuildRequest{Context: from, Dockerfile: "docker/app.Dockerfile"})
		if err != nil || r.Dockerfile != want {
			t.Errorf("the Dockerfile in %s is %q, %v, want %q", from, r.Dockerfile, err, want)
		}
	}
}

func TestASignalEndsTheWaitForTheBuilderOfAStack(t *testing.T) {
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }() // the test is over
	for name, value := range map[string]string{
		"BUILDKIT_HOST": "tcp://" + silent.Addr().String(), "DOCKLESS_BUILDKIT_TIMEOUT": "3m", "DOCKER_CONFIG": t.TempDir(), "HOME": t.TempDir(),
	} {
		t.Setenv(name, value)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cmd := &cobra.Command{}
	cmd.SetContext(ctx)
	cmd.SetErr(io.Discard)
	images := newStackImages(cmd, "", nil)
	start := time.Now()
	time.AfterFunc(200*time.Millisecond, func() { cancel(cmdline.InterruptError{Signal: os.Interrupt}) })
	if err := images.build(t.Context(), podmanrun.BuildRequest{}); err == nil {
		t.Error("a builder that does not answer has built")
	}
	if took := time.Since(start); took < 200*time.Millisecond || took > time.Minute {
		t.Errorf("the wait ended after %s, want it to end with the signal", took)
	}
	if err := images.close(); err != nil {
		t.Error(err)
	}
}

func TestLinesAreHandedOutWhole(t *testing.T) {
	var got []string
	w := &lineWriter{line: func(text string) { got = append(got, text) }}
	for _, piece := range []string{"one\ntw", "o\r\n", "\n", "three"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	w.flush()
	if diff := cmp.Diff([]string{"one", "two", "three"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
