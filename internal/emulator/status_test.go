package emulator_test

import (
	"fmt"
	"html"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/statuspage"
)

// look reads a page of the server as text without markup.
func (p *peer) look(path string) (int, string) {
	a := p.do("GET", path, nil)
	return a.status, html.UnescapeString(regexp.MustCompile(`(?s)<[^>]*>`).ReplaceAllString(string(a.body), ""))
}

// shownLines are the numbers and texts of a log's page.
func shownLines(body []byte) (lines []string) {
	for _, m := range regexp.MustCompile(`id="L(\d+)"[^>]*><a [^>]*>\d+</a><span>(.*)</span>`).FindAllSubmatch(body, -1) {
		lines = append(lines, fmt.Sprintf("%s %s", m[1], m[2]))
	}
	return lines
}

func TestThePageShowsAgentsPoolsAndJobs(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.Version = "9.8.7" })
	p := online(t, srv, "agent-one")
	first, second := srv.Queue(emulatortest.Script("true")), srv.Queue(emulatortest.Script("true"))
	p.running()
	step := p.stepIDs()[0]
	p.mustPatch(p.step(step, "inProgress", ""))
	p.want(204, "POST", p.recordsPath()+"/"+p.job+"/feed", map[string]any{"count": 2, "value": []string{"one <live>", "two"}, "stepId": step, "startLine": 1}, bearer(p.jobToken))

	_, home := p.look("/")
	for _, want := range []string{"Emulator", "version 9.8.7", "agent-one", "busy", "Default", "one <live>", "running", "queued", "▶"} {
		if !strings.Contains(home, want) {
			t.Errorf("the first page lacks %q:\n%s", want, home)
		}
	}
	job := fmt.Sprint("/jobs/", p.request)
	for _, path := range []string{job, "/jobs/" + string(first), "/jobs/" + strings.ToUpper(string(first))} {
		if code, text := p.look(path); code != http.StatusOK || !strings.Contains(text, "Live log") || !strings.Contains(text, "one <live>") {
			t.Errorf("%s answers %d:\n%s", path, code, text)
		}
	}
	if code, text := p.look("/jobs/" + string(second)); code != http.StatusOK || !strings.Contains(text, "queued") {
		t.Errorf("a job that waits answers %d:\n%s", code, text)
	}

	// Live lines until the step has ended, its log from then on.
	log := job + "/log/" + step
	p.want(204, "POST", p.recordsPath()+"/"+p.job+"/feed", map[string]any{"count": 1, "value": []string{"seven"}, "stepId": step, "startLine": 7}, bearer(p.jobToken))
	if got, want := fmt.Sprint(shownLines(p.do("GET", log, nil).body)), "[1 one &lt;live&gt; 2 two 7 seven]"; got != want {
		t.Errorf("live lines are %s, want %s", got, want)
	}
	const stamp = "2026-08-22T09:11:07.4021930Z "
	var page strings.Builder
	page.WriteString("\xef\xbb\xbf")
	for i := 1; i <= 2400; i++ {
		fmt.Fprintf(&page, "%sline %d\r\n", stamp, i)
	}
	p.upload(step, page.String())
	last := p.upload(step, stamp+"on the second page\n"+stamp+"without an end")
	p.mustPatch(map[string]any{"id": step, "state": "completed", "result": "succeeded", "log": last})
	for query, want := range map[string]string{
		"":           "1403 line 1403 … 2402 without an end",
		"?from=1":    "1 line 1 … 1000 line 1000",
		"?from=1000": "1000 line 1000 … 1999 line 1999",
		"?from=2399": "2399 line 2399 … 2402 without an end",
		"?from=2401": "2401 on the second page … 2402 without an end",
	} {
		lines := shownLines(p.do("GET", log+query, nil).body)
		if len(lines) == 0 {
			t.Errorf("%s shows no lines", query)
			continue
		}
		if got := lines[0] + " … " + lines[len(lines)-1]; got != want {
			t.Errorf("%q shows %q, want %q", query, got, want)
		}
	}
	p.mustPatch(p.jobRecord("completed", "succeeded"))
	p.complete("succeeded")
	if _, text := p.look(job); !strings.Contains(text, "succeeded") || strings.Contains(text, "Live log") {
		t.Errorf("the job that ended:\n%s", text)
	}
	if lines := shownLines(p.do("GET", log+"?from=2402", nil).body); fmt.Sprint(lines) != "[2402 without an end]" {
		t.Errorf("its log shows %q", lines)
	}
	for _, path := range []string{"/jobs/12345", "/jobs/nothing", job + "/log/nothing"} {
		if code, _ := p.look(path); code != http.StatusNotFound {
			t.Errorf("%s answers %d, want 404", path, code)
		}
	}
}

func TestThePageReadsTheReportOfABuildOnce(t *testing.T) {
	dir := t.TempDir()
	srv := emulatortest.New(t, func(c *emulator.Config) { c.StateDir = dir })
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	for name, content := range map[string]string{
		"b.json": `{"step":"Docker1","steps":2,"cached":1,"waterfall":[{"name":"RUN make","reason":"a file changed"}]}`, "x.json": "no JSON",
		"large.json": `{"step":"` + strings.Repeat("x", statuspage.MostReport) + `"}`,
	} {
		p.want(200, "PUT", p.recordsPath()+"/"+p.job+"/attachments/Dockless.Build/"+name, []byte(content), bearer(p.jobToken))
	}
	if err := os.RemoveAll(filepath.Join(dir, "attachments")); err != nil {
		t.Fatal(err)
	}
	_, text := p.look(fmt.Sprint("/jobs/", p.request))
	if n := strings.Count(text, "Image build"); n != 1 || !strings.Contains(text, "a file changed") {
		t.Errorf("the page shows %d builds:\n%.2000s", n, text)
	}
}

// feed sends one live line of a step.
func (p *peer) feed(step, line string) {
	p.t.Helper()
	p.want(204, "POST", p.recordsPath()+"/"+p.job+"/feed", map[string]any{"count": 1, "value": []string{line}, "stepId": step, "startLine": 1}, bearer(p.jobToken))
}

func TestLiveLinesAreKeptOfFewSteps(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	steps := make([]string, 40)
	for i := range steps {
		steps[i] = fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
		p.feed(steps[i], "live")
	}
	shown := func() (n int) {
		for _, step := range steps {
			if code, _ := p.look(fmt.Sprint("/jobs/", p.request, "/log/", step)); code == http.StatusOK {
				n++
			}
		}
		return n
	}
	if n := shown(); n != 16 {
		t.Errorf("live lines of %d steps are shown, want 16", n)
	}
	// Room comes with a log that is stored.
	done := p.step(steps[0], "completed", "succeeded")
	done["log"] = p.upload(steps[0], "2026-08-22T09:11:07.4021930Z stored\n")
	p.mustPatch(done)
	p.feed(steps[39], "live")
	if n := shown(); n != 17 {
		t.Errorf("logs of %d steps are shown, want 17", n)
	}
}

func TestLiveLinesOfJobsThatWereCutOffAreKeptOfTheLast(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	var logs []string
	for range 6 {
		id := srv.Queue(emulatortest.Script("true"))
		p.running()
		step := p.stepIDs()[0]
		p.mustPatch(p.step(step, "inProgress", ""))
		p.feed(step, "the last words")
		srv.LoseLock(id)
		logs = append(logs, fmt.Sprint("/jobs/", p.request, "/log/", step))
	}
	var got []int
	for _, log := range logs {
		code, text := p.look(log)
		if got = append(got, code); code == http.StatusOK && !strings.Contains(text, "the last words") {
			t.Errorf("%s shows\n%s", log, text)
		}
	}
	if want := []int{404, 404, 200, 200, 200, 200}; !slices.Equal(got, want) {
		t.Errorf("the logs of jobs that were cut off answer %d, want %d", got, want)
	}
}

func TestThePageCanBeOffAndNeverTakesCallsOfAgents(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.Status.Access = statuspage.Off })
	p := online(t, srv, "a")
	if code, _ := p.look("/"); code != http.StatusNotFound {
		t.Errorf("a page that is off answers %d, want 404", code)
	}
	for _, path := range []string{"/_apis/connectionData", "/jobsy/_apis/connectionData", "/jobs", "/events/_apis/connectionData"} {
		if own := statuspage.Serves(path); own != (path == "/jobs") {
			t.Errorf("Serves(%s) = %t", path, own)
		}
	}
}
