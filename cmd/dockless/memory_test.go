package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyReadOnlyMappingsOfTheProgramAreGivenBack(t *testing.T) {
	for line, want := range map[string]bool{
		"00400000-01234000 r-xp 00000000 fe:00 12 /usr/bin/dockless":         true,
		"01234000-02345000 r--p 00e34000 fe:00 12 /usr/bin/dockless":         true,
		"02345000-02400000 rw-p 01f45000 fe:00 12 /usr/bin/dockless":         false,
		"7f0000000000-7f0000001000 r--s 00000000 00:19 7 /dev/shm/dockless":  false,
		"7f0000000000-7f0000001000 r--p 00000000 00:19 7 /usr/lib/other":     false,
		"7f0000000000-7f0000001000 r-xp 00000000 00:00 0":                    false,
		"7f0000000000-7f0000001000 r--s 00000000 fe:00 12 /usr/bin/dockless": false,
		"nonsense /usr/bin/dockless":                                         false,
	} {
		if _, got := readOnlyMapping(line, "/usr/bin/dockless"); got != want {
			t.Errorf("readOnlyMapping(%q) = %t, want %t", line, got, want)
		}
	}
}

func TestPagesThatDifferFromTheFileAreKept(t *testing.T) {
	const smaps = `00400000-00500000 r-xp 00000000 fe:00 12 /usr/bin/dockless
Rss:                 512 kB
Anonymous:             0 kB
00500000-00501000 r--p 00100000 fe:00 12 /usr/bin/dockless
Rss:                   4 kB
Anonymous:             4 kB
00501000-00502000 rw-p 00101000 fe:00 12 /usr/bin/dockless
Anonymous:             0 kB
`
	got, err := unchangedMappings(strings.NewReader(smaps), "/usr/bin/dockless")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]mapping{{0x400000, 0x500000}}, got, cmp.AllowUnexported(mapping{})); diff != "" {
		t.Errorf("unchangedMappings (-want +got):\n%s", diff)
	}
}

// With cgo, as under the race detector, the addresses of C functions stand in a
// page that the dynamic linker wrote; changing the environment calls one.
func TestTheProgramRunsOnAfterItsPagesWereGivenBack(t *testing.T) {
	for range 3 {
		if err := releaseMemory(); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("DOCKLESS_TEST_PAGES", "1")
	if err := os.Unsetenv("DOCKLESS_TEST_PAGES"); err != nil {
		t.Fatal(err)
	}
}
