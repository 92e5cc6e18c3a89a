package cdi

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dir makes a directory of specifications.
func dir(t *testing.T, files map[string]string) string {
	t.Helper()
	d := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func sample(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDevicesOfAllDirectoriesAreFoundByKind(t *testing.T) {
	etc := dir(t, map[string]string{
		"nvidia.yaml": sample(t, "nvidia.yaml"),
		"nic.json":    `{"cdiVersion":"0.6.0","kind":"vendor.example/nic","devices":[{"name":"eth1"}]}`,
		"README":      "no specification",
	})
	run := dir(t, map[string]string{"management.yaml": "cdiVersion: 0.5.0\r\nkind: nvidia.com/gpu\r\ndevices: [{name: 1}, {name: all}]\r\n"})
	var log bytes.Buffer
	got := Read(t.Context(), []string{etc, filepath.Join(etc, "missing"), run}, slog.New(slog.NewTextHandler(&log, nil)))
	want := []Kind{
		{"nvidia.com", "gpu", []string{"0", "1", "GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c", "all"}},
		{"vendor.example", "nic", []string{"eth1"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read mismatch (-want +got):\n%s", diff)
	}
	if log.Len() > 0 {
		t.Errorf("good files are warned of:\n%s", &log)
	}
}

func TestAJetsonIsRead(t *testing.T) {
	got := Read(t.Context(), []string{dir(t, map[string]string{"jetson.json": sample(t, "jetson.json")})}, slog.New(slog.DiscardHandler))
	if diff := cmp.Diff([]Kind{{"nvidia.com", "gpu", []string{"0", "all"}}}, got); diff != "" {
		t.Errorf("Read mismatch (-want +got):\n%s", diff)
	}
}

func TestAMalformedFileIsWarnedOfAndTheOthersCount(t *testing.T) {
	for name, text := range map[string]string{
		"no-yaml.yaml":     "kind: [",
		"no-json.json":     "kind: nvidia.com/gpu",
		"no-kind.yaml":     "devices: [{name: x}]",
		"no-class.yaml":    "kind: nvidia.com\ndevices: [{name: x}]",
		"spaced-kind.yaml": "kind: 'nvidia.com/gpu x'\ndevices: [{name: x}]",
		"no-devices.yaml":  "kind: nvidia.com/gpu",
		"no-list.yaml":     "kind: nvidia.com/gpu\ndevices: {name: x}",
		"no-name.yaml":     "kind: nvidia.com/gpu\ndevices: [x]",
		"comma.yaml":       "kind: nvidia.com/gpu\ndevices: [{name: 'a,b'}]",
		"newline.json":     `{"kind":"nvidia.com/gpu","devices":[{"name":"a\nb"}]}`,
		"anchor.yaml":      "kind: nvidia.com/gpu\nx: &a [1]\ndevices: [{name: x}]",
		"flow-deep.yaml":   strings.Repeat("[", 100000),
		"block-deep.yaml":  strings.Repeat("- ", 100000),
		"keys-deep.yaml":   strings.Repeat("? ", 100000),
		"large.yaml":       "kind: nvidia.com/gpu\ndevices: [{name: x}]\n" + strings.Repeat("#", maxFile),
		"long.yaml":        "kind: nvidia.com/gpu\ndevices: [{name: " + strings.Repeat("x", 200) + "}]",
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			d := dir(t, map[string]string{name: text, "z.json": `{"kind":"v/c","devices":[{"name":"d"}]}`})
			got := Read(t.Context(), []string{d}, slog.New(slog.NewTextHandler(&log, nil)))
			if diff := cmp.Diff([]Kind{{"v", "c", []string{"d"}}}, got); diff != "" {
				t.Errorf("Read mismatch (-want +got):\n%s", diff)
			}
			if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), name) {
				t.Errorf("warnings = %d, want one that names the file:\n%s", n, &log)
			}
		})
	}
}

// A pipe would block for ever, and so would its reader at every start.
func TestWhatIsNoFileIsNotOpened(t *testing.T) {
	d := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(d, "pipe.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Read(t.Context(), []string{d}, slog.New(slog.DiscardHandler)); len(got) > 0 {
		t.Errorf("Read = %v, want nothing", got)
	}
}

func TestFilesAndDevicesAreBounded(t *testing.T) {
	files := make(map[string]string)
	var devices strings.Builder
	for i := range maxDevices + 10 {
		fmt.Fprintf(&devices, "- name: d%d\n", i)
	}
	files["0.yaml"] = "kind: v/c\ndevices:\n" + devices.String()
	for i := range maxFiles + 5 {
		files[fmt.Sprintf("f%02d.yaml", i)] = fmt.Sprintf("kind: v/f%d\ndevices: [{name: x}]", i)
	}
	got := Read(t.Context(), []string{dir(t, files)}, slog.New(slog.DiscardHandler))
	if len(got) != maxFiles || len(got[0].Devices) != maxDevices {
		t.Errorf("Read = %d kinds, %d devices of the first, want %d and %d", len(got), len(got[0].Devices), maxFiles, maxDevices)
	}
}

// Whatever a file holds, only names come out of it.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"nvidia.yaml", "jetson.json"} {
		f.Add([]byte(sample(f, name)), strings.HasSuffix(name, ".json"))
	}
	f.Add([]byte("kind: a/b\ndevices:\n- name: 0x1F\n- name: 1.0\n"), false)
	f.Fuzz(func(t *testing.T, text []byte, isJSON bool) {
		k, err := parse(text, isJSON)
		if err != nil {
			return
		}
		for _, name := range append(k.Devices, k.String()) {
			if name == "" || strings.ContainsAny(name, " ,\n\t=") {
				t.Errorf("parse(%q) = %q, a name that may not be", text, name)
			}
		}
	})
}
