package taskstore_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sharing is a store with a work folder of its own and a folder it shares.
func sharing(t *testing.T, shared string, body []byte) *served {
	t.Helper()
	s := store(t.TempDir(), func(_ int, to io.Writer) error {
		if body == nil {
			return errors.New("nobody may ask the server")
		}
		_, err := io.Copy(to, bytes.NewReader(body))
		return err
	})
	s.Shared = shared
	return s
}

func TestASecondAgentTakesAPackageFromTheSharedFolder(t *testing.T) {
	shared := filepath.Join(t.TempDir(), "shared")
	if _, err := sharing(t, shared, whole(t)).Ensure(t.Context(), sample); err != nil {
		t.Fatal(err)
	}
	second := sharing(t, shared, nil)
	task, err := second.Ensure(t.Context(), sample)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(task.Dir, "main.js")); err != nil || string(text) != "1" {
		t.Errorf("main.js holds %q, %v", text, err)
	}
	if len(second.warnings) != 0 || second.calls.Load() != 0 {
		t.Errorf("warnings %q and %d downloads, want none", second.warnings, second.calls.Load())
	}
	if left, err := filepath.Glob(filepath.Join(shared, "*", ".new-*")); err != nil || len(left) != 0 {
		t.Errorf("left in the shared folder: %q, %v", left, err)
	}
}

func TestAPackageWhoseContentChangedIsDownloadedAgain(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, blob, entry string){
		"one byte of it": func(t *testing.T, blob, _ string) {
			text, err := os.ReadFile(blob)
			if err != nil {
				t.Fatal(err)
			}
			text[len(text)/2] ^= 1
			write(t, blob, string(text))
		},
		"its second half is gone": func(t *testing.T, blob, _ string) {
			if err := os.Truncate(blob, 40); err != nil {
				t.Fatal(err)
			}
		},
		"it has grown": func(t *testing.T, blob, _ string) {
			text, err := os.ReadFile(blob)
			if err != nil {
				t.Fatal(err)
			}
			write(t, blob, string(text)+"more")
		},
		"its entry is no JSON": func(t *testing.T, _, entry string) { write(t, entry, "{") },
		"its entry leads out of the folder": func(t *testing.T, _, entry string) {
			write(t, entry, `{"sha256": "../../../../etc/hostname", "bytes": 10}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			shared := t.TempDir()
			if _, err := sharing(t, shared, whole(t)).Ensure(t.Context(), sample); err != nil {
				t.Fatal(err)
			}
			blobs, err := filepath.Glob(filepath.Join(shared, "sha256", "*"))
			if err != nil || len(blobs) != 1 {
				t.Fatalf("archives %q, %v; want one", blobs, err)
			}
			spoil(t, blobs[0], filepath.Join(shared, "tasks", strings.ToLower(sample.ID), sample.Version+".json"))
			again := sharing(t, shared, whole(t))
			if _, err := again.Ensure(t.Context(), sample); err != nil {
				t.Fatal(err)
			}
			if again.calls.Load() != 1 || !slices.ContainsFunc(again.warnings, func(w string) bool { return strings.Contains(w, "downloaded again") }) {
				t.Errorf("%d downloads, warnings %q; want one of each", again.calls.Load(), again.warnings)
			}
			if _, err := sharing(t, shared, nil).Ensure(t.Context(), sample); err != nil {
				t.Errorf("the folder was not repaired: %v", err)
			}
		})
	}
}

func TestAFolderThatCannotBeWrittenFailsNoTask(t *testing.T) {
	shared := filepath.Join(t.TempDir(), "file")
	write(t, shared, "no folder")
	s := sharing(t, shared, whole(t))
	if _, err := s.Ensure(t.Context(), sample); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(s.warnings, func(w string) bool { return strings.Contains(w, "was not shared") }) {
		t.Errorf("warnings %q", s.warnings)
	}
}

func TestAPackageThatIsOfNoUseIsNotShared(t *testing.T) {
	shared := t.TempDir()
	if _, err := sharing(t, shared, archive(t, file{"readme", "no task", 0})).Ensure(t.Context(), sample); err == nil {
		t.Fatal("it was taken")
	}
	if blobs, err := filepath.Glob(filepath.Join(shared, "*", "*")); err != nil || len(blobs) != 0 {
		t.Errorf("shared: %q, %v", blobs, err)
	}
}
