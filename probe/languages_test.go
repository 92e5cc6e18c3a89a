//go:build linux && (amd64 || arm64)

package probe_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/probe"
)

// python returns an interpreter that can run the examples.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("there is no Python to test examples/probe with: apt-get install python3 libatomic1")
	}
	return path
}

// cxx returns a compiler for C++. The header is C first: where there is no such
// compiler its readers in C++ are not tested.
func cxx(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("g++")
	if err != nil {
		t.Skip("there is no C++ compiler, so dockless_probe.h is tested from C only: apt-get install g++")
	}
	return path
}

const examples = "../examples/probe/"

// writers start a process that has a slot in state ready, until its input ends.
func writers(t *testing.T, program string) map[string]func(path string) *exec.Cmd {
	return map[string]func(path string) *exec.Cmd{
		"Go": func(path string) *exec.Cmd {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), childVariable+"="+path)
			return cmd
		},
		"C": func(path string) *exec.Cmd { return exec.CommandContext(t.Context(), program, "one", path, "child") },
		"Python": func(path string) *exec.Cmd {
			return exec.CommandContext(t.Context(), python(t), examples+"writer.py", "child", path, "3600")
		},
	}
}

// readers answer with an exit code and a line.
func readers(t *testing.T, program string) map[string]func(path string, ready bool) (bool, string) {
	verb := map[bool]string{true: "ready", false: "live"}
	run := func(name string, args ...string) (bool, string) {
		out, err := exec.CommandContext(t.Context(), name, args...).Output()
		return err == nil, strings.TrimSpace(string(out))
	}
	return map[string]func(path string, ready bool) (bool, string){
		"Go": func(path string, ready bool) (bool, string) {
			question := probe.IsLive
			if ready {
				question = probe.IsReady
			}
			ok, line := probe.CheckFile(nil, path, question, probe.Query{})
			return ok, string(line)
		},
		"C": func(path string, ready bool) (bool, string) { return run(program, verb[ready], path) },
		"Python": func(path string, ready bool) (bool, string) {
			return run(python(t), examples+"reader.py", verb[ready], path)
		},
	}
}

// TestWhatOneLanguageWritesTheOthersRead goes through the life of a writer in each
// language, on a page that a Go process made and on one of its own.
func TestWhatOneLanguageWritesTheOthersRead(t *testing.T) {
	program := program(t)
	for language, writer := range writers(t, program) {
		for _, shared := range []bool{false, true} {
			name := language + " alone"
			if shared {
				name = language + " beside Go"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "page")
				expect := func(when string, yes bool, words string) { // who is ready is live
					t.Helper()
					for reader, ask := range readers(t, program) {
						if got, line := ask(path, yes); got != yes || !strings.Contains(line, words) {
							t.Errorf("%s, %s answers %t (%s), want %t with %q", when, reader, got, line, yes, words)
						}
					}
				}
				if shared {
					take(t, join(t, path), "host", time.Hour).Set(probe.Ready, probe.ReasonNone)
				}
				cmd := writer(path)
				if _, err := cmd.StdinPipe(); err != nil { // Wait closes it
					t.Fatal(err)
				}
				startWriter(t, cmd)
				expect("with the writer", true, "child ")
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait()
				expect("after kill -9", false, " is gone")

				again := writer(path) // takes over what the dead one left
				in, err := again.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				startWriter(t, again)
				refused := writer(path)
				if out, err := refused.Output(); err == nil {
					t.Errorf("a second writer of the slot got it and said %q", out)
				}
				if yes, line := probe.CheckFile(nil, path, probe.IsReady, probe.Query{}); !yes || !strings.Contains(string(line), "child ") {
					t.Errorf("started again: %t, %s", yes, line)
				}
				if err := in.Close(); err != nil {
					t.Fatal(err)
				}
				if err := again.Wait(); err != nil {
					t.Errorf("the writer ended with %v", err)
				}
				if shared {
					if yes, line := probe.CheckFile(nil, path, probe.IsReady, probe.Query{}); !yes || !strings.Contains(string(line), "1 slot: host ") {
						t.Errorf("after its end: %t, %s", yes, line)
					}
					return
				}
				if ok, line := probe.CheckFile(nil, path, probe.IsLive, probe.Query{}); ok || !strings.Contains(string(line), "no page at") {
					t.Errorf("after its end: %q, want that the page is removed", line)
				}
			})
		}
	}
}

// TestEveryLanguageKeepsToTheRules lets programs claim and set slots, on a page of
// their own process id namespace and on a foreign one, and say what is wrong.
func TestEveryLanguageKeepsToTheRules(t *testing.T) {
	for language, rules := range map[string][]string{
		"C":      {program(t), "rules"},
		"Python": {python(t), "testdata/rules.py"},
	} {
		for name, namespace := range map[string]uint64{"our namespace": 0, "a foreign namespace": 4711} {
			t.Run(language+" in "+name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "page")
				take(t, join(t, path), "host", time.Hour)
				if namespace != 0 {
					patch(t, path, 40, namespace)
				}
				if out, err := exec.CommandContext(t.Context(), rules[0], append(rules[1:], path)...).CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}

func TestThePythonReaderSaysWhatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo:                       "not live: not a probe page",
		dir:                        "not live: not a probe page",
		filepath.Join(dir, "none"): "not live: [Errno 2] ",
	} {
		out, err := exec.CommandContext(t.Context(), python(t), examples+"reader.py", "live", path).Output()
		if err == nil || !strings.HasPrefix(string(out), want) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: %v, %q, want one line that begins with %q", path, err, out, want)
		}
	}
}

func TestTheHeaderIsCPlusPlusToo(t *testing.T) {
	compiler := cxx(t)
	path := filepath.Join(t.TempDir(), "page")
	take(t, create(t, path), "host", time.Hour).Set(probe.Ready, probe.ReasonNone)
	if err := compile(compiler, "-x", "c++", "-std=c++11", "-pedantic", "-fsyntax-only"); err != nil {
		t.Error(err)
	}
	program := filepath.Join(t.TempDir(), "probe")
	if err := compile(compiler, "-x", "c++", "-std=c++17", "-pedantic", "-o", program); err != nil {
		t.Fatal(err)
	}
	if yes, line := askC(t, program, path, probe.IsReady, probe.Query{}); !yes {
		t.Errorf("the reader in C++: %s", line)
	}
}

func TestTheExamplesStayBelowAHundredLines(t *testing.T) {
	for _, name := range []string{"reader.py", "writer.py"} {
		text, err := os.ReadFile(examples + name)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(text), "\n"); lines >= 100 {
			t.Errorf("%s has %d lines", name, lines)
		}
	}
}
