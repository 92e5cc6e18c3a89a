package sharedstate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func add(t *testing.T, v *Value[map[string]int], key string) error {
	t.Helper()
	return v.Change(t.Context(), func(all *map[string]int) {
		if *all == nil {
			*all = make(map[string]int)
		}
		(*all)[key]++
	})
}

func count(t *testing.T, v *Value[map[string]int], key string) (n int) {
	t.Helper()
	if err := v.Change(t.Context(), func(all *map[string]int) { n = (*all)[key] }); err != nil {
		t.Fatal(err)
	}
	return n
}

// Two values with one file are two processes to each other: they share nothing else.
func TestNoChangeOfAnotherProcessIsLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "below", "state.json")
	const processes, changes = 4, 10
	var all sync.WaitGroup
	for range processes {
		all.Go(func() {
			v := &Value[map[string]int]{Path: path}
			for range changes {
				if err := add(t, v, "n"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := count(t, &Value[map[string]int]{Path: path}, "n"); n != processes*changes {
		t.Errorf("%d changes were kept, want %d", n, processes*changes)
	}
}

func TestAProcessThatHoldsTheFileForTooLongIsNamedAndPassedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	other := flock.New(path + ".lock")
	if locked, err := other.TryLock(); !locked || err != nil {
		t.Fatalf("TryLock() = %t, %v", locked, err)
	}
	synctest.Test(t, func(t *testing.T) {
		v := &Value[map[string]int]{Path: path}
		began := time.Now()
		const builds, changes = 100, 4
		var all sync.WaitGroup
		for range builds {
			all.Go(func() {
				for range changes {
					if err := add(t, v, "n"); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another process holds it") {
						t.Errorf("Change() = %v, want the file and its holder named", err)
					}
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took != lockTimeout {
			t.Errorf("the other process was waited for %s by all builds together, want %s", took, lockTimeout)
		}
		if n := v.memory["n"]; n != builds*changes {
			t.Errorf("this process remembers %d changes, want its own %d", n, builds*changes)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(aloneFor)
		if err := add(t, v, "n"); err != nil {
			t.Errorf("Change() = %v when the file was free again", err)
		}
	})
	if n := count(t, &Value[map[string]int]{Path: path}, "n"); n != 1 {
		t.Errorf("%d changes are in the file, want the one since it was free", n)
	}
}

func TestABuildThatIsCancelledWaitsForNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	other := flock.New(path + ".lock")
	if locked, err := other.TryLock(); !locked || err != nil {
		t.Fatalf("TryLock() = %t, %v", locked, err)
	}
	defer func() { _ = other.Close() }() // of a test
	synctest.Test(t, func(t *testing.T) {
		v := &Value[map[string]int]{Path: path}
		var all sync.WaitGroup
		all.Go(func() { _ = add(t, v, "first") })
		synctest.Wait()
		began := time.Now()
		stopped := errors.New("the job was cancelled")
		ctx, cancel := context.WithTimeoutCause(t.Context(), lockTimeout/2, stopped)
		defer cancel()
		called := false
		if err := v.Change(ctx, func(*map[string]int) { called = true }); !errors.Is(err, stopped) || called {
			t.Errorf("Change() = %v, f was called: %t, want the cause and no call", err, called)
		}
		if took := time.Since(began); took != lockTimeout/2 {
			t.Errorf("the build waited %s, want until it was cancelled", took)
		}
		all.Wait()
	})
}

func TestABuildThatIsCancelledDoesNotJudgeTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	other := flock.New(path + ".lock")
	if locked, err := other.TryLock(); !locked || err != nil {
		t.Fatalf("TryLock() = %t, %v", locked, err)
	}
	v := &Value[map[string]int]{Path: path}
	stopped := errors.New("the job was cancelled")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	called := false
	if err := v.Change(ctx, func(*map[string]int) { called = true }); !errors.Is(err, stopped) || !called {
		t.Errorf("Change() = %v, f was called: %t, want the cause and a call", err, called)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, v, "n"); n != 0 {
		t.Errorf("n = %d, want the file used at once", n)
	}
}

func TestWithoutAFileTheValueIsThisProcesss(t *testing.T) {
	var v Value[map[string]int]
	if err := add(t, &v, "n"); err != nil || count(t, &v, "n") != 1 {
		t.Errorf("Change() = %v, then %d", err, count(t, &v, "n"))
	}
}

func TestAFileThatIsNotOursIsAFreshStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	for name, text := range map[string]string{"nothing": "", "half": `{"n":`, "a list": "[1]", "null": "null", "too large": `{"n":1}` + strings.Repeat(" ", maxSize)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		v := &Value[map[string]int]{Path: path}
		if err := add(t, v, "n"); err != nil || count(t, v, "n") != 1 {
			t.Errorf("%s: Change() = %v, then %d, want a fresh start", name, err, count(t, v, "n"))
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"", "null", "{", `{"n":1}`, `{"n":null}`, `{"n":-1e400}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for key := range decode[map[string]int](text) {
			if !strings.Contains(string(text), `"`) {
				t.Errorf("the key %q comes from nowhere", key)
			}
		}
	})
}
