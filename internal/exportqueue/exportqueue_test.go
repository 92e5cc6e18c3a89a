package exportqueue_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/exportqueue"
)

func TestNoMoreExportsThanSlotsGoOnAtATime(t *testing.T) {
	for name, dir := range map[string]string{"in one process": "", "across processes": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			shared := &exportqueue.Queue{Dir: dir}
			var now, most, waited atomic.Int32
			const exports = 10
			ended := make(chan error, exports)
			for range exports {
				s := shared
				if dir != "" {
					s = &exportqueue.Queue{Dir: dir} // as another process has it
				}
				go func() {
					release, err := s.Take(t.Context(), "reg:5000", func() { waited.Add(1) })
					if err != nil {
						ended <- err
						return
					}
					n := now.Add(1)
					for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
					}
					time.Sleep(20 * time.Millisecond)
					now.Add(-1)
					ended <- release()
				}()
			}
			for range exports {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			if most.Load() != exportqueue.AtATime || waited.Load() == 0 {
				t.Errorf("%d exports went on at a time, and %d waited, want %d at a time", most.Load(), waited.Load(), exportqueue.AtATime)
			}
		})
	}
}

func TestWaitingForASlotEndsWithItsContext(t *testing.T) {
	for name, dir := range map[string]string{"in one process": "", "across processes": t.TempDir()} {
		s := &exportqueue.Queue{Dir: dir}
		var releases []func() error
		for range exportqueue.AtATime {
			release, err := s.Take(t.Context(), "reg", nil)
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
		why := errors.New("long enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, why)
		defer cancel()
		late := s
		if dir != "" {
			late = &exportqueue.Queue{Dir: dir}
		}
		if _, err := late.Take(ctx, "reg", func() {}); !errors.Is(err, why) {
			t.Errorf("%s: Take() = %v, want %v", name, err, why)
		}
		if release, err := late.Take(t.Context(), "other", nil); err != nil || release() != nil {
			t.Errorf("%s: another registry waits too: %v", name, err)
		}
		for _, release := range releases {
			if err := release(); err != nil {
				t.Error(err)
			}
		}
		if release, err := late.Take(t.Context(), "reg", nil); err != nil || release() != nil {
			t.Errorf("%s: Take() of a free slot = %v", name, err)
		}
	}
}

func TestADirectoryThatCannotBeWrittenCostsTheSharedQueueOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	told := 0
	s := &exportqueue.Queue{Dir: filepath.Join(file, "exports"), Alone: func(context.Context, error) { told++ }}
	var releases []func() error
	for range exportqueue.AtATime {
		release, err := s.Take(t.Context(), "reg", nil)
		if err != nil {
			t.Fatalf("Take() = %v, want a slot of this process", err)
		}
		releases = append(releases, release)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Take(ctx, "reg", func() {}); err == nil {
		t.Error("there are more slots than in a directory")
	}
	for _, release := range releases {
		if err := release(); err != nil {
			t.Error(err)
		}
	}
	if told != 1 {
		t.Errorf("it was told %d times, want once", told)
	}
}
