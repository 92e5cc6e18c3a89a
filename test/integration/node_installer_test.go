package integration_test

import (
	"cmp"
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/stage"
)

// installed is what the task that installs the tool writes down.
type installed struct {
	Cached                                   bool
	Found                                    struct{ Folder, Archive, Extracted string }
	Missing, Culture, Temp, Tools, Inherited string
}

func readInstalled(t *testing.T, file string) installed {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got installed
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	return got
}

// architecture is this machine's as Node calls it.
var architecture = cmp.Or(map[string]string{"amd64": "x64", "386": "ia32"}[runtime.GOARCH], runtime.GOARCH)

// installStep is a step that installs a version of the tool.
func installStep(ref job.TaskReference, name, site, version, report string) job.Step {
	return job.Step{
		ID: job.NewRecordID(), Name: name, DisplayName: name, Reference: ref,
		Inputs: map[string]string{"site": site, "versionSpec": version, "report": report},
	}
}

// useStep runs the tool that the step install has installed.
func useStep() job.Step {
	return job.Step{
		ID: job.NewRecordID(), Name: "use", DisplayName: "use",
		Reference: job.TaskReference{ID: "6c731c3c-3c68-459a-a5c9-bde6e6595b5b", Name: "Bash", Version: "3.278.0"},
		Inputs:    map[string]string{"targetType": "inline", "script": "owntool\necho \"root: $OWNTOOL_ROOT\"\necho \"folder: $(install.folder)\"\ncommand -v owntool"},
	}
}

// What UseNode, UseDotNet and GoTool do, with the library that they do it by.
func TestAnInstallerFillsTheCacheOfToolsForLaterJobs(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	ref, err := s.OfferTask(t.Context(), packTask(t, filepath.Join("testdata", "installer"), "azure-pipelines-tool-lib"))
	if err != nil {
		t.Fatal(err)
	}
	startAgent(t, s, stage.AgentOptions{Env: alone})
	site := &toolSite{asked: make(map[string]int)}
	srv := httptest.NewServer(site)
	t.Cleanup(srv.Close)
	work := filepath.Join(s.Dir, "stage", "work")
	folder := filepath.Join(work, "_tool", "owntool", "2.1.0", architecture)
	install := func(version, culture string) (job.Report, installed) {
		report := filepath.Join(t.TempDir(), "report.json")
		m := tourMessage([]job.Step{installStep(ref, "install", srv.URL, version, report), useStep()})
		m.Variables["system.culture"] = job.Variable{Value: culture, IsReadOnly: true}
		j, err := s.QueueMessage(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		r := finish(t, s, j)
		if r.Result != job.Succeeded {
			dumpLog(t, r)
			t.Fatalf("the job that installs %s is %s, want succeeded", version, r.Result)
		}
		for _, line := range []string{"this is owntool-2.1.0", "root: " + folder, "folder: " + folder, filepath.Join(folder, "bin", "owntool")} {
			if log := record(t, r, "use").Log; !slices.Contains(log, line) {
				t.Errorf("the tool of %s: the log lacks %q:\n%s", version, line, strings.Join(log, "\n"))
			}
		}
		return r, readInstalled(t, report)
	}

	first, got := install("2.x", "de-DE")
	temp := filepath.Join(work, "_temp")
	for what, path := range map[string]string{"archive": got.Found.Archive, "what was in it": got.Found.Extracted} {
		if filepath.Dir(path) != temp {
			t.Errorf("the %s is at %q, want it in %s", what, path, temp)
		}
	}
	got.Found.Archive, got.Found.Extracted = "", ""
	want := installed{Missing: "Eingabe erforderlich: nothing", Culture: "de-DE", Temp: temp, Tools: filepath.Join(work, "_tool"), Inherited: filepath.Join(work, "_tool")}
	want.Found.Folder = folder
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("the first job (-want +got):\n%s", diff)
	}
	if log := record(t, first, "install").Log; !slices.Contains(log, "Archiv wird extrahiert") {
		t.Errorf("the library does not speak the language of System.Culture:\n%s", strings.Join(log, "\n"))
	}
	// One that leads to the file, one that is refused, and one that is answered.
	asked := map[string]int{"/": 1, "/owntool-2.1.0.tar.gz": 1, "/files/owntool-2.1.0.tar.gz": 2}
	if diff := gocmp.Diff(asked, site.requests()); diff != "" {
		t.Errorf("what the first job asked the site for (-want +got):\n%s", diff)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left in the temp directory: %v, %v; want nothing", left, err)
	}

	for _, version := range []string{"2.x", "2.1.0"} {
		if _, got := install(version, "en-US"); !got.Cached || got.Found.Folder != folder || got.Missing != "Input required: nothing" {
			t.Errorf("a later job with %s found %+v, want what the first one left, in English", version, got)
		}
	}
	if diff := gocmp.Diff(asked, site.requests()); diff != "" {
		t.Errorf("later jobs asked the site, too (-want +got):\n%s", diff)
	}
}

// The site is known to the proxy only, and its certificate to DOCKLESS_CA_FILE.
func TestAnInstallerDownloadsThroughTheProxyOfTheAgent(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	ref, err := s.OfferTask(t.Context(), packTask(t, filepath.Join("testdata", "installer"), "azure-pipelines-tool-lib"))
	if err != nil {
		t.Fatal(err)
	}
	near, far := &toolSite{asked: make(map[string]int)}, &toolSite{asked: make(map[string]int)}
	nearSrv, farSrv := httptest.NewServer(near), httptest.NewTLSServer(far)
	t.Cleanup(nearSrv.Close)
	t.Cleanup(farSrv.Close)
	const user, password = "someone", "pr0xy-passw0rd"
	proxy, proxySrv := newTunnels(t, farSrv.Listener.Addr().String(), user+":"+password)
	proxyURL, err := url.Parse(proxySrv.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxyURL.User = url.UserPassword(user, password)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: farSrv.Certificate().Raw})
	tools := filepath.Join(s.Dir, "tools")
	startAgent(t, s, stage.AgentOptions{Env: append(slices.Clone(alone),
		"HTTPS_PROXY="+proxyURL.String(), "HTTP_PROXY="+proxyURL.String(), "NO_PROXY=127.0.0.1",
		"DOCKLESS_CA_FILE="+writeFile(t, s.Dir, "ca.pem", string(authority)), "AGENT_TOOLSDIRECTORY="+tools)})

	const name = "tools.example.com" // the certificate's; nothing is there
	through, direct := filepath.Join(s.Dir, "through.json"), filepath.Join(s.Dir, "direct.json")
	steps := []job.Step{
		installStep(ref, "through", "https://"+name, "2.x", through),
		installStep(ref, "direct", nearSrv.URL, "1.x", direct),
		installStep(ref, "nowhere", "https://"+name, "3.x", filepath.Join(s.Dir, "nowhere.json")),
	}
	j, err := s.QueueMessage(t.Context(), tourMessage(steps))
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if log := record(t, r, "nowhere").Log; r.Result != job.Failed || !slices.Contains(log, "##[error]owntool has no version 3.x") {
		dumpLog(t, r)
		t.Fatalf("the job is %s, want failed by its last step only:\n%s", r.Result, strings.Join(log, "\n"))
	}
	for file, version := range map[string]string{through: "2.1.0", direct: "1.4.0"} {
		got, want := readInstalled(t, file), filepath.Join(tools, "owntool", version, architecture)
		if got.Found.Folder != want || got.Cached || got.Tools != tools || got.Inherited != tools {
			t.Errorf("%s was told of %+v, want %s in AGENT_TOOLSDIRECTORY", filepath.Base(file), got, want)
		}
	}
	targets, refused := proxy.seen()
	// Two pages of versions; the way to the archive, a refusal, and the archive.
	if want := slices.Repeat([]string{"CONNECT " + name + ":443"}, 2+3); !slices.Equal(targets, want) || refused != 0 {
		t.Errorf("the proxy was asked for %q, %d times without its password; want %q", targets, refused, want)
	}
	if got := near.requests()["/"]; got != 1 {
		t.Errorf("the site of NO_PROXY was asked %d times for its versions, want once and not by the proxy", got)
	}
	if text, err := json.Marshal(r); err != nil || strings.Contains(string(text), password) {
		t.Errorf("the report shows the proxy's password, or cannot be written: %v", err)
	}
}

// With built-ins turned off, what the server has is what runs; the checkout, which
// it has not, is ours still.
func TestThePackageOfABuiltInTaskRunsWhenBuiltInsAreOff(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	if _, err := s.OfferTask(t.Context(), packTask(t, filepath.Join("testdata", "copyfiles"))); err != nil {
		t.Fatal(err)
	}
	startAgent(t, s, stage.AgentOptions{Env: append(slices.Clone(alone), "DOCKLESS_NATIVE_TASKS=off")})
	repo, _, err := s.Repository(t.Context(), "files", writeTree(t, map[string]string{"a.txt": "a", "sub/b.txt": "b", "c.md": "c"}))
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, queue(t, s, `steps:
- checkout: self
  displayName: Get them
- task: CopyFiles@2
  displayName: Copy them
  inputs:
    Contents: "**/*.txt"
    TargetFolder: $(Build.ArtifactStagingDirectory)
- bash: cd "$BUILD_ARTIFACTSTAGINGDIRECTORY" && find . -type f | sort
  displayName: See them
`, repo, nil))
	if r.Result != job.Succeeded {
		dumpLog(t, r)
		t.Fatalf("the job is %s, want succeeded", r.Result)
	}
	for name, lines := range map[string][]string{
		"Get them":  {"Description  : Get sources from a repository with git."},
		"Copy them": {"Task         : Copy files with the package", "the package copied a.txt", "the package copied sub/b.txt"},
		"See them":  {"Description  : Bash of the emulator.", "./a.txt", "./sub/b.txt"},
	} {
		log := record(t, r, name).Log
		for _, line := range lines {
			if !slices.Contains(log, line) {
				t.Errorf("the log of %q lacks %q:\n%s", name, line, strings.Join(log, "\n"))
			}
		}
		if slices.Contains(log, "./c.md") {
			t.Errorf("what the package was not to copy is there:\n%s", strings.Join(log, "\n"))
		}
	}
}
