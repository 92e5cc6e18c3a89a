package main

import "testing"

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
		if _, _, got := readOnlyMapping(line, "/usr/bin/dockless"); got != want {
			t.Errorf("readOnlyMapping(%q) = %t, want %t", line, got, want)
		}
	}
}

func TestTheProgramRunsOnAfterItsPagesWereGivenBack(t *testing.T) {
	for range 3 {
		if err := releaseMemory(); err != nil {
			t.Fatal(err)
		}
	}
}
