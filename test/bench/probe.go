package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/probe"
	"github.com/dockless-ci/dockless/test/rig"
)

// probeRow times whole processes: what the kubelet pays for one probe.
func probeRow(ctx context.Context, b *bench) (_ result, err error) {
	page := filepath.Join("/dev/shm", fmt.Sprintf("dockless-bench-%d", os.Getpid()))
	w, err := probe.Create(page)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	slot, err := w.Slot("bench", time.Hour)
	if err != nil {
		return result{}, err
	}
	slot.Set(probe.Ready, 0)
	slot.Beat()
	binary, err := rig.Bin("dockless-probe")
	if err != nil {
		return result{}, err
	}
	file := filepath.Join(b.stage.Dir, "alive")
	if err := os.WriteFile(file, []byte("ok\n"), 0o600); err != nil {
		return result{}, err
	}
	ours := func() (time.Duration, error) {
		return timed(exec.CommandContext(ctx, binary, "live", "--file", page).Run)
	}
	peer := func() (time.Duration, error) { return timed(exec.CommandContext(ctx, "cat", file).Run) }
	if _, _, err := alternate(20, ours, peer); err != nil { // fills the page cache
		return result{}, err
	}
	o, p, err := alternate(b.times(1000), ours, peer)
	if err != nil {
		return result{}, err
	}
	return compare(o, p, 1.0), nil
}

// beatRow measures in this process: a beat is too short for anything else.
func beatRow(_ context.Context, b *bench) (_ result, err error) {
	page := filepath.Join("/dev/shm", fmt.Sprintf("dockless-bench-%d", os.Getpid()))
	w, err := probe.Create(page)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	slot, err := w.Slot("bench", time.Hour)
	if err != nil {
		return result{}, err
	}
	ours := testing.Benchmark(func(tb *testing.B) {
		for tb.Loop() {
			slot.Beat()
		}
	})
	file := filepath.Join(b.stage.Dir, "touched")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return result{}, err
	}
	peer := testing.Benchmark(func(tb *testing.B) {
		for tb.Loop() {
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, file, nil, 0); err != nil {
				tb.Fatal(err)
			}
		}
	})
	o := float64(ours.T.Nanoseconds()) / float64(ours.N)
	p := float64(peer.T.Nanoseconds()) / float64(peer.N)
	return result{ours: fmt.Sprintf("%.2f ns", o), peer: fmt.Sprintf("%.0f ns", p), ratio: fmt.Sprintf("%.4f ×", o/p), met: o <= 5}, nil
}
