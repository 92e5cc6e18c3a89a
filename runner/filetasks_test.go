package runner_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

var (
	copyFiles    = job.TaskReference{ID: "5bfb729a-a7c8-4a78-a7c3-8d717bb7c13c", Name: "CopyFiles", Version: "2.276.0"}
	deleteFiles  = job.TaskReference{ID: "b7e8b412-0437-4065-9371-edc5881de25b", Name: "DeleteFiles", Version: "1.274.1"}
	archiveFiles = job.TaskReference{ID: "d8b84976-e99a-4b86-b885-4849694435b0", Name: "ArchiveFiles", Version: "2.279.0"}
	extractFiles = job.TaskReference{ID: "5e1e3830-fbfb-11e5-aab1-090c92bc4988", Name: "ExtractFiles", Version: "1.274.0"}
)

// use makes a step of a task; pairs are names and values of inputs.
func use(task job.TaskReference, pairs ...string) job.Step {
	s := job.Step{ID: job.NewRecordID(), Name: "it", DisplayName: "it", Reference: task, Inputs: make(map[string]string)}
	for i := 0; i < len(pairs); i += 2 {
		s.Inputs[pairs[i]] = pairs[i+1]
	}
	return s
}

// fileCase is a job in which a script makes a tree, a task works on it and a
// script shows what is there then.
type fileCase struct {
	before string
	task   job.Step
	after  string
	want   []string   // of after
	result job.Result // of the task; empty: succeeded
	log    []string   // what the log of the task has, too
	issue  string     // what its first issue says
}

func (c fileCase) run(t *testing.T) {
	t.Parallel()
	m := message(script("before", "set -e\n"+c.before), c.task, script("after", c.after, condition("always()")))
	m.Variables["build.buildId"] = job.Variable{Value: "7"}
	rec, _ := run(t, config(t), m)
	if before := rec.record(t, "before"); before.Result != job.Succeeded {
		t.Fatalf("the tree was not made:\n%s", strings.Join(rec.log(t, "before"), "\n"))
	}
	log := strings.Join(rec.log(t, "it"), "\n")
	it := rec.record(t, "it")
	want := c.result
	if want == "" {
		want = job.Succeeded
	}
	if it.Result != want {
		t.Errorf("the task %s, want %s:\n%s", it.Result, want, log)
	}
	for _, line := range c.log {
		if !strings.Contains(log, line) {
			t.Errorf("the log has no %q:\n%s", line, log)
		}
	}
	if c.issue != "" && (len(it.Issues) == 0 || !strings.Contains(it.Issues[0].Message, c.issue)) {
		t.Errorf("issues %+v, want one that says %q", it.Issues, c.issue)
	}
	if diff := cmp.Diff(c.want, rec.output(t, "after")); diff != "" {
		t.Errorf("afterwards (-want +got):\n%s\n%s", diff, log)
	}
}

// tree shows every file of the folder with its content, and links as links.
func tree(folder string) string {
	return "find " + folder + ` | LC_ALL=C sort | while read -r f; do if [ -L "$f" ]; then echo "$f -> $(readlink "$f")"; elif [ -f "$f" ]; then echo "$f=$(cat "$f")"; fi; done`
}

func TestCopyFiles(t *testing.T) {
	for name, c := range map[string]fileCase{
		"everything, in its folders": {
			before: "mkdir -p in/sub/.git\necho a>in/a; echo b>in/sub/b; echo c>in/sub/.git/c",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out"),
			after:  tree("out"), want: []string{"out/a=a", "out/sub/.git/c=c", "out/sub/b=b"},
			log: []string{"found 3 files", "Copying "},
		},
		"what patterns choose": {
			before: "mkdir -p in/bin in/obj\necho 1 >in/bin/a.dll; echo 2 >in/obj/a.dll; echo 3 >in/bin/b.txt",
			task:   use(copyFiles, "SourceFolder", "in", "Contents", "**/*.dll\n!obj/**\n# nothing", "TargetFolder", "$(Build.ArtifactStagingDirectory)/x"),
			after:  "cd $(Build.ArtifactStagingDirectory); " + tree("x"), want: []string{"x/bin/a.dll=1"},
		},
		"G31 nothing at all": {
			before: "mkdir in out; echo old>out/old",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out", "CleanTargetFolder", "true"),
			after:  tree("."), want: []string{"./out/old=old"}, log: []string{"found 0 files"},
		},
		"into a folder that is emptied": {
			before: "mkdir -p in out/sub away; echo a>in/a; echo old>out/sub/old; echo kept>away/f; ln -s ../away out/link",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out", "CleanTargetFolder", "true"),
			after:  tree("."), want: []string{"./away/f=kept", "./in/a=a", "./out/a=a"}, log: []string{"Cleaning target folder: "},
		},
		"what is there stays": {
			before: "mkdir in out; echo new>in/a; echo old>out/a",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out"),
			after:  tree("out"), want: []string{"out/a=old"}, log: []string{" already exist at "},
		},
		"unless it is overwritten": {
			before: "mkdir in out; echo new>in/a; echo older>out/a",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out", "OverWrite", "true"),
			after:  tree("out"), want: []string{"out/a=new"},
		},
		"but never a directory": {
			before: "mkdir -p in out/a; echo new>in/a",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out", "OverWrite", "true"),
			after:  "ls out", want: []string{"a"}, result: job.Failed, issue: "there is a directory at ",
		},
		"flat": {
			before: "mkdir -p in/a/b; echo 1 >in/a/b/f; echo 2 >in/g",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out", "flattenFolders", "true"),
			after:  tree("out"), want: []string{"out/f=1", "out/g=2"},
		},
		"modes and times": {
			before: "mkdir in; echo x>in/run; chmod 751 in/run; touch -d '2001-02-03 04:05:06 UTC' in/run",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out", "preserveTimestamp", "true"),
			after:  "stat -c '%a %Y' out/run", want: []string{"751 981173106"},
		},
		"through links, and past one that leads nowhere": {
			before: "mkdir -p in/sub; echo 1 >in/sub/f; ln -s sub in/link; ln -s sub/f in/file; ln -s nowhere in/gone; ln -s .. in/sub/up",
			task:   use(copyFiles, "SourceFolder", "in", "Contents", "**\n!gone\n!**/up/**", "TargetFolder", "out"),
			after:  tree("out"), want: []string{"out/file=1", "out/link/f=1", "out/sub/f=1"},
		},
		"a link that leads nowhere is no file": {
			before: "mkdir in; ln -s nowhere in/gone",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out"),
			result: job.Failed, issue: "in/gone leads to no file", after: "true", want: []string{},
		},
		"onto itself changes nothing": {
			before: "mkdir in; echo x>in/f",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "in", "OverWrite", "true"),
			after:  tree("in"), want: []string{"in/f=x"},
		},
		"a pipe does not hold it up": {
			before: "mkdir in; mkfifo in/pipe",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out"),
			result: job.Failed, issue: "in/pipe is no regular file", after: "true", want: []string{},
		},
		"again and again": {
			before: "mkdir in; echo x>in/f; touch out",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out", "retryCount", "2", "delayBetweenRetries", "10"),
			result: job.Failed, issue: "making the target folder", log: []string{"; 2 more tries", "; 1 more tries"}, after: "true", want: []string{},
		},
		"errors of folders are passed over when asked": {
			before: "mkdir in; echo x>in/f; touch out",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "out", "ignoreMakeDirErrors", "true"),
			result: job.Failed, issue: "copying ", log: []string{"Unable to create target folder ("}, after: "true", want: []string{},
		},
		"not over the agent's own folders": {
			before: "mkdir in; echo x>in/f",
			task:   use(copyFiles, "SourceFolder", "in", "TargetFolder", "$(Agent.WorkFolder)", "CleanTargetFolder", "true"),
			result: job.Failed, issue: "holds the folders of the agent", after: tree("in"), want: []string{"in/f=x"},
		},
		"no source folder": {
			before: "true", task: use(copyFiles, "SourceFolder", "in", "TargetFolder", "out"),
			result: job.Failed, issue: "the source folder: ", after: "true", want: []string{},
		},
		"no target folder": {
			before: "true", task: use(copyFiles),
			result: job.Failed, issue: "the input TargetFolder is empty", after: "true", want: []string{},
		},
	} {
		t.Run(name, c.run)
	}
}

func TestDeleteFiles(t *testing.T) {
	for name, c := range map[string]fileCase{
		"what patterns choose": {
			before: "mkdir -p a/b; echo 1 >a/x.log; echo 2 >a/b/y.log; echo 3 >a/b/z",
			task:   use(deleteFiles, "SourceFolder", "a", "Contents", "**/*.log"),
			after:  tree("a"), want: []string{"a/b/z=3"},
		},
		"folders with everything in them": {
			before: "mkdir -p bin/.x obj; echo 1 >bin/.x/f; echo 2 >obj/f; echo 3 >keep",
			task:   use(deleteFiles, "Contents", "{bin,obj}"),
			after:  "ls -A", want: []string{"keep"},
		},
		"no files with a dot": {
			before: "echo 1 >.a; echo 2 >b", task: use(deleteFiles, "Contents", "*"), after: "ls -A", want: []string{".a"},
		},
		"unless asked": {
			before: "echo 1 >.a; echo 2 >b; echo 3 >c", task: use(deleteFiles, "Contents", "*\n!c", "RemoveDotFiles", "true"), after: "ls -A", want: []string{"c"},
		},
		"a folder in which something stays": {
			before: "mkdir -p d/e ab; echo 1 >d/e/keep; echo 2 >d/e/go; echo 3 >ab/go",
			task:   use(deleteFiles, "Contents", "**\n!**/keep"), after: tree("."), want: []string{"./d/e/keep=1"},
		},
		"the folder itself": {
			before: "mkdir -p d/e; echo 1 >d/e/f", task: use(deleteFiles, "SourceFolder", "d", "Contents", "**", "RemoveSourceFolder", "true"),
			after: "ls", want: []string{},
		},
		"not the folder while something is in it": {
			before: "mkdir d; echo 1 >d/f; echo 2 >d/.g", task: use(deleteFiles, "SourceFolder", "d", "Contents", "**", "RemoveSourceFolder", "true"),
			after: tree("d"), want: []string{"d/.g=2"},
		},
		"all of it": {
			before: "mkdir -p d/.e; echo 1 >d/.e/f", task: use(deleteFiles, "SourceFolder", "d", "Contents", "."), after: "ls", want: []string{},
		},
		"a link and not what it leads to": {
			before: "mkdir -p out d; echo 1 >out/f; ln -s ../out d/link; ln -s ../out/f d/file; ln -s nowhere d/gone",
			task:   use(deleteFiles, "SourceFolder", "d", "Contents", "**"),
			after:  tree("."), want: []string{"./out/f=1"},
		},
		"a link to the whole machine": {
			before: "mkdir d; ln -s / d/link; ln -s /proc d/proc",
			task:   use(deleteFiles, "SourceFolder", "d", "Contents", "**"),
			after:  "ls -A d", want: []string{},
		},
		"nothing behind an absolute link, though it stays inside": {
			before: "mkdir -p d/sub; echo 1 >d/sub/f; ln -s $PWD/d/sub d/link",
			task:   use(deleteFiles, "SourceFolder", "d", "Contents", "link/*"),
			after:  "cat d/sub/f", want: []string{"1"}, log: []string{"Nothing is deleted behind a link: "},
		},
		"a link to the agent's own folders": {
			before: "mkdir d; ln -s $(Agent.WorkFolder) d/link",
			task:   use(deleteFiles, "SourceFolder", "d", "Contents", "**"),
			after:  "ls -A d; test -d $(Agent.TempDirectory) && echo there", want: []string{"there"},
		},
		"nothing behind a link": {
			before: "mkdir -p out d; echo 1 >out/f; ln -s ../out d/link",
			task:   use(deleteFiles, "SourceFolder", "d", "Contents", "link/*"),
			after:  tree("."), want: []string{"./d/link -> ../out", "./out/f=1"},
		},
		"no patterns that lead out": {
			before: "mkdir d; echo 1 >f", task: use(deleteFiles, "SourceFolder", "d", "Contents", "../f\n/f\n*/../../f"), after: tree("."), want: []string{"./f=1"},
		},
		"nothing where nothing is": {
			before: "true", task: use(deleteFiles, "SourceFolder", "d", "Contents", "**"), after: "ls", want: []string{}, log: []string{"No files to delete."},
		},
		"not the agent's own folders": {
			before: "echo 1 >f", task: use(deleteFiles, "SourceFolder", "$(Agent.WorkFolder)", "Contents", "_temp"),
			result: job.Failed, issue: "holds the folders of the agent", after: "ls", want: []string{"f"},
		},
	} {
		t.Run(name, c.run)
	}
}

// The agent's folders may be reached by a link, and deleted by another path.
func TestTheAgentsFoldersAreSparedByWhateverPath(t *testing.T) {
	cfg := config(t)
	real := filepath.Join(t.TempDir(), "real")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg.Work = filepath.Join(t.TempDir(), "work")
	if err := os.Symlink(real, cfg.Work); err != nil {
		t.Fatal(err)
	}
	for what, task := range map[string]job.Step{
		"DeleteFiles": use(deleteFiles, "SourceFolder", real, "Contents", "_temp"),
		"CopyFiles":   use(copyFiles, "SourceFolder", ".", "TargetFolder", real, "CleanTargetFolder", "true"),
	} {
		rec, _ := run(t, cfg, message(script("before", "echo x >f"), task))
		if it := rec.record(t, "it"); it.Result != job.Failed || len(it.Issues) == 0 || !strings.Contains(it.Issues[0].Message, "holds the folders of the agent") {
			t.Errorf("%s: %s with %+v", what, it.Result, it.Issues)
		}
	}
}
