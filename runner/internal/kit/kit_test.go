package kit

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/launch"
)

// TestMain makes the test's program the launcher that the copy is started again by.
func TestMain(m *testing.M) {
	if asked, err := launch.Main(os.Args, os.Environ()); asked {
		panic(err)
	}
	m.Run()
}

func TestNodeRunsFromItsCopyAndStartsItselfAgain(t *testing.T) {
	program, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not installed: hack/setup.sh")
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "node")
	if err := Node(t.Context(), program, dir, os.Args[0], nil); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "a.js")
	text := `if (process.argv[2]) { process.send(process.argv[2] + process.execPath); process.exit() }
require('child_process').fork(__filename, ['child ']).on('message', m => console.log(m, process.env.LD_LIBRARY_PATH))`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	node := launch.Node(dir)
	out, err := exec.CommandContext(t.Context(), node[0], append(node[1:], script)...).CombinedOutput()
	if want := "child " + launch.NodeLink(dir) + " undefined\n"; err != nil || string(out) != want {
		t.Errorf("the copy printed %q, %v, want %q", out, err, want)
	}
}

func TestADynamicProgramIsNoLauncher(t *testing.T) {
	err := Launcher("/bin/sh", filepath.Join(t.TempDir(), "launcher"))
	if err == nil || !strings.Contains(err.Error(), "loader") || len(hint.All(err)) == 0 {
		t.Errorf("Launcher(/bin/sh) = %v, want an error about its loader with a hint", err)
	}
}

func TestTheAnswerOfALoaderIsRead(t *testing.T) {
	got, err := parseLibraries("\tlinux-vdso.so.1 (0x7ffd)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 => /lib64/ld-linux-x86-64.so.2 (0x7f)\n", "ld-linux-x86-64.so.2")
	if want := map[string]string{"libm.so.6": "/lib/x/libm.so.6"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("parseLibraries = %v, %v, want %v", got, err, want)
	}
	if _, err := parseLibraries("libx.so => not found\n", "ld.so"); err == nil {
		t.Error("a library that is not there was passed over")
	}
}

func FuzzLibraries(f *testing.F) {
	f.Add("\tlibm.so.6 => /lib/libm.so.6 (0x1)\n")
	f.Add("../../x => /etc/passwd (0x1)")
	f.Fuzz(func(t *testing.T, text string) {
		found, _ := parseLibraries(text, "ld.so")
		for name, file := range found {
			if !filepath.IsLocal(name) || strings.Contains(name, "/") || !filepath.IsAbs(file) {
				t.Errorf("%q gave %q => %q", text, name, file)
			}
		}
	})
}
