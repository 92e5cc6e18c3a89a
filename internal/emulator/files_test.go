package emulator_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// S10, §7.6: pages are appended raw, lines counted, and the report joins the
// pages of a record and strips the time stamps.
func TestS10LogsAreStoredByPage(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	p.running()
	step, own := p.stepIDs()[0], bearer(p.jobToken)
	p.mustPatch(p.step(step, "inProgress", ""))
	stamp := "2026-08-22T09:11:07.4021930Z "
	first := p.upload(step, "\xef\xbb\xbf"+stamp+"one\r\n"+stamp+"two\nof two lines\n")
	p.want(200, "POST", fmt.Sprint(first["location"]), []byte(stamp+"three\n"), own)
	last := p.upload(step, stamp+"four\n")
	p.mustPatch(map[string]any{"id": step, "log": last})

	var l struct {
		LineCount int
		Value     []string
	}
	p.want(200, "GET", fmt.Sprint(first["location"]), nil, own).into(t, &l)
	if diff := cmp.Diff([]string{stamp + "one", stamp + "two", "of two lines", stamp + "three"}, l.Value); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	p.want(200, "GET", fmt.Sprint(first["location"], "?startLine=2&endLine=3"), nil, own).into(t, &l)
	if diff := cmp.Diff([]string{stamp + "two", "of two lines"}, l.Value); diff != "" {
		t.Errorf("lines 2 to 3 (-want +got):\n%s", diff)
	}
	text := p.want(200, "GET", fmt.Sprint(last["location"]), nil, own, header{"Accept", "text/plain"})
	if string(text.body) != stamp+"four\n" {
		t.Errorf("plain text = %q", text.body)
	}
	var all struct{ Value []struct{ LineCount int } }
	p.want(200, "GET", p.planURL+"/logs", nil, own).into(t, &all)
	if len(all.Value) != 2 || all.Value[0].LineCount != 4 || all.Value[1].LineCount != 1 {
		t.Errorf("logs = %+v, want 4 lines and 1", all.Value)
	}
	report, err := srv.Report(id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"one", "two", "of two lines", "three", "four"}, report.Records[1].Log); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	stream := p.want(200, "GET", "/_emulator/jobs/"+string(id)+"/log?record="+step, nil)
	if got, want := string(stream.body), "one\ntwo\nof two lines\nthree\nfour\n"; got != want {
		t.Errorf("log as text = %q, want %q", got, want)
	}
	p.want(404, "GET", "/_emulator/jobs/11111111-1111-4111-8111-111111111111/log", nil)
	p.refused(404, "TaskLogNotFoundException", "POST", p.planURL+"/logs/1", []byte(stamp), own)
	p.want(415, "POST", fmt.Sprint(last["location"]), "text", own)
	if got := srv.Violations(); len(got) != 0 {
		t.Errorf("violations = %+v", got)
	}
	p.upload(step, "no time stamp\n")
	if got := srv.Violations(); len(got) != 1 || got[0].Section != "§7.6" || got[0].Refused {
		t.Errorf("violations = %+v, want one about the time stamp", got)
	}
}

// §7.5: batches of at most 100 lines of at most 1024 characters and "...", with
// the line numbers of the step.
func TestS10WrongFeedBatchesAreViolations(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	p.running()
	step := p.stepIDs()[0]
	p.mustPatch(p.step(step, "inProgress", ""))
	feed := func(start int, lines ...string) {
		t.Helper()
		p.want(204, "POST", p.recordsPath()+"/"+p.job+"/feed", map[string]any{"count": len(lines), "value": lines, "stepId": step, "startLine": start}, bearer(p.jobToken))
	}
	feed(1, "##[section]Starting: Step", strings.Repeat("ü", 1024)+"...")
	feed(9, "a gap is fine: only the last batches are sent at the end")
	if got := srv.Violations(); len(got) != 0 {
		t.Fatalf("violations = %+v, want none", got)
	}
	feed(10, slices.Repeat([]string{"x"}, 101)...)
	feed(111, strings.Repeat("x", 1028))
	feed(112, "two\nlines")
	feed(3, "again")
	if got := srv.Violations(); len(got) != 4 {
		t.Errorf("violations = %+v, want 4", got)
	}
	lines, err := srv.Feed(id)
	if err != nil || len(lines) != 107 || lines[2].Line != 9 || lines[2].Step != job.RecordID(step) {
		t.Errorf("feed = %d lines, %v; third %+v", len(lines), err, lines[min(2, len(lines)-1)])
	}
}

// §7.7, and the build reports of design §10.
func TestAttachments(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	p.running()
	own := bearer(p.jobToken)
	path := p.recordsPath() + "/" + p.job + "/attachments/"
	build := job.BuildReport{Step: "Docker", Digest: "sha256:1", Platforms: []string{"linux/amd64"}, Steps: 10, Cached: 8, Reasons: []string{"file main.go changed"}}
	text, err := json.Marshal(build)
	if err != nil {
		t.Fatal(err)
	}
	p.want(200, "PUT", path+"Dockless.Build/one.json", []byte("not yet"), own)
	p.want(200, "PUT", path+"Dockless.Build/one.json", text, own)
	p.want(200, "PUT", path+"DistributedTask.Core.Summary/a%20b.md", []byte("# hi"), own)
	if a := p.want(200, "GET", path+"DistributedTask.Core.Summary/a%20b.md", nil, own); string(a.body) != "# hi" {
		t.Errorf("content = %q", a.body)
	}
	var out struct {
		Count int
		Value []struct{ Type, Name, RecordID string }
	}
	p.want(200, "GET", p.planURL+"/attachments/DistributedTask.Core.Summary", nil, own).into(t, &out)
	if out.Count != 1 || out.Value[0].Name != "a b.md" || out.Value[0].RecordID != p.job {
		t.Errorf("summaries = %+v", out)
	}
	p.refused(400, "VssRequestContentException", "PUT", path+"type/..%2Fescape", []byte("x"), own)
	p.refused(404, "TimelineRecordNotFoundException", "PUT", p.recordsPath()+"/11111111-1111-4111-8111-111111111111/attachments/t/n", []byte("x"), own)
	report, err := srv.Report(id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]job.BuildReport{build}, report.Builds); diff != "" {
		t.Errorf("builds (-want +got):\n%s", diff)
	}
	files, err := srv.Attachments(id)
	if err != nil || len(files) != 2 {
		t.Errorf("attachments = %d, %v, want 2", len(files), err)
	}
}

// S11, §8.3, §8.4, Appendix D.
func TestS11TasksAreHandedOut(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	own := bearer(p.jobToken)
	for name, path := range map[string]string{
		"CmdLine": "d9bafed4-0b18-4f58-968d-86655b4d2ce9/2.279.1", "Bash": "6c731c3c-3c68-459a-a5c9-bde6e6595b5b/3.278.0",
		"PowerShell": "e213ff0f-5d5c-4791-802d-52ea3e7be1f1/2.1.0", "Docker": "e28912f1-0114-4464-802a-a3a35437fd16/2.279.0",
		"PrintEnvironment": emulator.EnvironmentTask + "/1.0.0",
	} {
		t.Run(name, func(t *testing.T) {
			p := *p
			p.t = t
			a := p.want(200, "GET", "/_apis/distributedtask/tasks/"+path, nil, own, header{"Accept", "application/zip; api-version=3.0-preview.1"})
			files := unzip(t, a.body)
			var task struct {
				ID, Name  string
				Version   struct{ Major, Minor, Patch int }
				Execution map[string]struct{ Target string }
			}
			if err := json.Unmarshal(files["task.json"], &task); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%s/%d.%d.%d", task.ID, task.Version.Major, task.Version.Minor, task.Version.Patch); got != path || task.Name != name {
				t.Errorf("task.json is %s %s, want %s %s", task.Name, got, name, path)
			}
			for _, handler := range []string{"Node10", "Node20_1"} {
				if len(files[task.Execution[handler].Target]) == 0 {
					t.Errorf("the target of %s is not in the zip", handler)
				}
			}
			p.want(200, "GET", "/_apis/distributedtask/tasks/"+path, nil, own)
		})
	}
	p.refused(404, "TaskDefinitionNotFoundException", "GET", "/_apis/distributedtask/tasks/d9bafed4-0b18-4f58-968d-86655b4d2ce9/9.0.0", nil, own)
	p.refused(404, "TaskDefinitionNotFoundException", "GET", "/_apis/distributedtask/tasks/11111111-1111-4111-8111-111111111111/1.0.0", nil, own)
}

func TestATaskCanBeOffered(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	const definition = `{"id": "77777777-7777-4777-8777-777777777777", "name": "Own", "version": {"Major": 1, "Minor": 2, "Patch": 3}}`
	var body bytes.Buffer
	z := zip.NewWriter(&body)
	w, err := z.Create("task.json")
	if err == nil {
		_, err = io.WriteString(w, "\xef\xbb\xbf"+definition)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	for _, refused := range []string{"", "PK", definition} {
		p.want(400, "POST", "/_emulator/tasks", []byte(refused))
	}
	var got job.TaskReference
	p.want(200, "POST", "/_emulator/tasks", body.Bytes()).into(t, &got)
	if want := (job.TaskReference{ID: "77777777-7777-4777-8777-777777777777", Name: "Own", Version: "1.2.3"}); got != want {
		t.Errorf("offered %+v, want %+v", got, want)
	}
	const path = "/_apis/distributedtask/tasks/77777777-7777-4777-8777-777777777777/1.2.3"
	a := p.want(200, "GET", path, nil, bearer(p.jobToken), header{"Accept", "application/zip"})
	if !bytes.Equal(a.body, body.Bytes()) {
		t.Error("the package is not the one that was offered")
	}
	if a := p.want(200, "GET", path, nil, bearer(p.jobToken)); !bytes.Contains(a.body, []byte("Own")) {
		t.Errorf("the definition is %s", a.body)
	}
	srv.OfferTask("d9bafed4-0b18-4f58-968d-86655b4d2ce9", "2.279.1", []byte("no package"))
	a = p.want(200, "GET", "/_apis/distributedtask/tasks/d9bafed4-0b18-4f58-968d-86655b4d2ce9/2.279.1", nil, bearer(p.jobToken), header{"Accept", "application/zip"})
	if string(a.body) != "no package" {
		t.Error("a task of the server's own is handed out in place of the one that was offered")
	}
}

func unzip(t *testing.T, body []byte) map[string][]byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = text
	}
	return files
}

// The zips are real tasks: node runs them as §8.8 says.
func TestTheCmdLineTaskRunsUnderNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not installed (Debian: apt-get install nodejs), so the task is not run")
	}
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	for script, want := range map[string]string{"echo hi": "##vso[task.complete result=Succeeded;]", "exit 3": "##vso[task.complete result=Failed;]bash exited with code 3"} {
		dir := t.TempDir()
		a := p.want(200, "GET", "/_apis/distributedtask/tasks/d9bafed4-0b18-4f58-968d-86655b4d2ce9/2.0.0", nil, bearer(p.jobToken), header{"Accept", "application/zip"})
		for name, text := range unzip(t, a.body) {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), node, filepath.Join(dir, "cmdline.js"))
		cmd.Env = append(os.Environ(), "INPUT_SCRIPT="+script, "AGENT_TEMPDIRECTORY="+dir)
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%q printed %s (%v), want %s", script, out, err, want)
		}
	}
}

// §9.1 to §9.3.
func TestBuildsArtifactsTagsAndContainers(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	own := bearer(p.jobToken)
	build := "/" + p.scope + "/_apis/build/builds/501"
	var b struct{ BuildNumber string }
	p.want(200, "PATCH", build, map[string]any{"id": 501, "buildNumber": "1.2.3"}, own).into(t, &b)
	if b.BuildNumber != "1.2.3" {
		t.Errorf("build number = %q", b.BuildNumber)
	}
	var tags struct{ Value []string }
	p.want(200, "POST", build+"/tags", []string{"tag with ; inside", " trimmed "}, own).into(t, &tags)
	p.want(200, "PUT", build+"/tags/plain", nil, own).into(t, &tags)
	if diff := cmp.Diff([]string{"tag with ; inside", "trimmed", "plain"}, tags.Value); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	container := "/_apis/resources/Containers/77501?itemPath=drop%2Fbin%2Fapp.tgz&scope=" + p.scope
	p.want(202, "PUT", container, []byte("hello "), own, header{"Content-Range", "bytes 0-5/11"})
	p.want(400, "PUT", container, []byte("world"), own, header{"Content-Range", "bytes 7-11/12"})
	p.want(201, "PUT", container, []byte("world"), own, header{"Content-Range", "bytes 6-10/11"})
	if a := p.want(200, "GET", container, nil, own, header{"Accept", "application/octet-stream"}); string(a.body) != "hello world" {
		t.Errorf("content = %q", a.body)
	}
	artifact := map[string]any{"name": "drop", "source": p.job, "resource": map[string]any{"type": "Container", "data": "#/77501/drop", "properties": map[string]string{}}}
	p.want(200, "POST", build+"/artifacts", artifact, own)
	var found struct {
		Resource struct{ Data, DownloadURL string }
	}
	p.want(200, "GET", build+"/artifacts?artifactName=drop", nil, own).into(t, &found)
	if found.Resource.Data != "#/77501/drop" || found.Resource.DownloadURL == "" {
		t.Errorf("artifact = %+v", found)
	}
	p.want(404, "GET", build+"/artifacts?artifactName=other", nil, own)
}

// §9.1: what a client meets when it downloads, and when an answer was lost.
func TestContainersAnswerFoldersZipsAndPartsThatComeAgain(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	own := bearer(p.jobToken)
	at := func(path string) string {
		return "/_apis/resources/Containers/77501?scope=" + p.scope + "&itemPath=" + url.QueryEscape(path)
	}
	p.want(202, "PUT", at("drop/bin/app"), []byte("hello "), own, header{"Content-Range", "bytes 0-5/11"})
	p.want(201, "PUT", at("drop/bin/app"), []byte("world"), own, header{"Content-Range", "bytes 6-10/11"})
	p.want(201, "PUT", at("drop/bin/app"), []byte("world"), own, header{"Content-Range", "bytes 6-10/11"})
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte("text"))
	_ = z.Close()
	p.want(201, "PUT", at("drop/text"), packed.Bytes(), own, header{"Content-Range", fmt.Sprintf("bytes 0-%d/%d", packed.Len()-1, packed.Len())},
		header{"Content-Encoding", "gzip"}, header{"x-tfs-filelength", "4"})
	p.want(400, "PUT", "/_apis/resources/Containers/77501?itemPath=x&scope="+p.job, []byte("x"), own)
	var items struct {
		Value []struct {
			Path, ItemType string
			FileLength     int64
		}
	}
	p.want(200, "GET", at("drop"), nil, own).into(t, &items)
	var got []string
	for _, item := range items.Value {
		got = append(got, fmt.Sprintf("%s %s %d", item.Path, item.ItemType, item.FileLength))
	}
	if diff := cmp.Diff([]string{"drop folder 0", "drop/bin folder 0", "drop/bin/app file 11", "drop/text file 4"}, got); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	build := "/" + p.scope + "/_apis/build/builds/501/artifacts"
	artifact := func(name, data string) map[string]any {
		return map[string]any{"name": name, "source": p.job, "resource": map[string]any{"type": "Container", "data": data}}
	}
	p.want(400, "POST", build, artifact("a/b", "#/77501/drop"), own)
	p.want(400, "POST", build, artifact("a", "#/77501/nothing"), own)
	p.want(400, "POST", build, artifact("a", "#/1/drop"), own)
	p.want(200, "POST", build, artifact("a", "#/77501/drop"), own)
	for _, a := range []answerOf{
		p.want(200, "GET", at("drop"), nil, own, header{"Accept", "application/zip"}), p.want(200, "GET", at("drop")+"&$format=zip", nil, own),
		p.want(200, "GET", build+"?artifactName=A&$format=zip", nil, own),
	} {
		r, err := zip.NewReader(bytes.NewReader(a.body), int64(len(a.body)))
		if err != nil {
			t.Fatal(err)
		}
		content := make(map[string]string)
		for _, f := range r.File {
			from, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(from)
			content[f.Name] = string(text)
		}
		if diff := cmp.Diff(map[string]string{"drop/bin/app": "hello world", "drop/text": "text"}, content); diff != "" {
			t.Errorf("zip (-want +got):\n%s", diff)
		}
	}
	p.want(404, "GET", at("nothing"), nil, own, header{"Accept", "application/zip"})
	p.want(404, "GET", at("drop"), nil, own, header{"Accept", "application/octet-stream"})
}

func TestRunsOfAProjectAreListed(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	m := emulatortest.Script("true")
	m.Variables = map[string]job.Variable{"build.sourceBranch": {Value: "refs/heads/x"}}
	srv.Queue(m)
	p.running()
	for query, want := range map[string]int{
		"": 1, "definitions=7": 1, "definitions=8": 0, "branchName=refs/heads/x": 1, "branchName=refs/heads/y": 0, "statusFilter=completed": 0,
		"statusFilter=inProgress,completed": 1, "tagFilters=a": 0, "$top=0": 0,
	} {
		var out struct{ Count int }
		p.want(200, "GET", "/"+p.scope+"/_apis/build/builds?"+query, nil, bearer(p.jobToken)).into(t, &out)
		if out.Count != want {
			t.Errorf("%s lists %d runs, want %d", query, out.Count, want)
		}
	}
	p.want(404, "PATCH", "/"+p.scope+"/_apis/Release/releases/1", map[string]string{"name": "x"}, bearer(p.jobToken))
}

func TestOptionalResourcesAreMissing(t *testing.T) {
	p := newPeer(t, emulatortest.New(t), "a")
	for _, path := range []string{"/_apis/customerintelligence/Events", "/_apis/FeatureFlags/x", "/_apis", "/_apis/distributedtask/packages/agent/linux-x64"} {
		p.want(404, "GET", path, nil, p.pat()) // §7.13
	}
	p.want(405, "DELETE", "/_apis/connectionData", nil, p.pat())
}
