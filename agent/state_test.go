package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
)

func TestTheKeyIsMadeOnceAndReadableByItsOwnerOnly(t *testing.T) {
	s := state{dir: filepath.Join(t.TempDir(), "new")}
	first, err := s.key()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.dir, keyFile)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := s.key()
	if err != nil || !first.Equal(again) {
		t.Errorf("the second key differs (%v), want the same", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v (%v), want 0600", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if fresh, err := s.key(); err != nil || fresh.Equal(first) {
		t.Errorf("an unreadable key was not replaced (%v)", err)
	}
	if files, err := os.ReadDir(s.dir); err != nil || len(files) != 1 {
		t.Errorf("state directory holds %v (%v), want the key only", files, err)
	}
}

func TestAJobIsRememberedUntilItIsForgotten(t *testing.T) {
	s := state{dir: t.TempDir()}
	if l, err := s.leftover(); l != nil || err != nil {
		t.Errorf("leftover = %v, %v, want none", l, err)
	}
	want := Leftover{JobID: "J", JobName: "Build", RequestID: 903, Started: time.Unix(1, 0).UTC()}
	if err := s.remember(want); err != nil {
		t.Fatal(err)
	}
	got, err := s.leftover()
	if err != nil || got == nil {
		t.Fatalf("leftover = %v, %v", got, err)
	}
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Errorf("leftover (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(s.dir, jobFile), []byte(`{"jo`), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := s.leftover(); l == nil || err != nil {
		t.Errorf("leftover of a torn file = %v, %v, want a job without a name", l, err)
	}
	for range 2 {
		if err := s.forget(); err != nil {
			t.Error(err)
		}
	}
	if l, err := s.leftover(); l != nil || err != nil {
		t.Errorf("leftover = %v, %v, want none", l, err)
	}
}

func TestAStateDirectoryThatCannotBeWrittenIsAdvised(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := state{dir: file}.key()
	if hints := hint.All(err); len(hints) != 1 {
		t.Errorf("key = %v, hints %q, want one", err, hints)
	}
}
