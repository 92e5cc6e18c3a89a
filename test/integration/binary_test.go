package integration_test

import (
	"debug/elf"
	"os"
	"path/filepath"
	"testing"

	"github.com/dockless-ci/dockless/test/rig"
)

// maxBinary is the budget of design §14 for the stripped binary.
const maxBinary = 45 << 20

func TestTheBinariesAreSmallAndStatic(t *testing.T) {
	t.Parallel()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		for _, name := range []string{"dockless", "dockless-probe"} {
			path := filepath.Join(root, ".build", "dist", "linux-"+arch, name)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatalf("%v; make dist builds it", err)
			}
			t.Logf("%s for %s: %.1f MB", name, arch, float64(info.Size())/1e6)
			if info.Size() > maxBinary {
				t.Errorf("%s has %d bytes, want at most %d", path, info.Size(), maxBinary)
			}
			file, err := elf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if file.Machine != machine {
				t.Errorf("%s is for %s, want %s", path, file.Machine, machine)
			}
			if file.Section(".interp") != nil {
				t.Errorf("%s needs a dynamic linker, want a static program", path)
			}
			if file.Section(".debug_info") != nil || file.Section(".zdebug_info") != nil {
				t.Errorf("%s is not stripped", path)
			}
			if err := file.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
