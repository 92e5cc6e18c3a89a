// Package probe knows how a process tells others, for one store into memory,
// that it is alive and ready.
//
// The writer's side maps one page of shared memory, usually /dev/shm/dockless,
// and takes a slot of it for every loop that must not stand still:
//
//	w, err := probe.Create(path)
//	poll, err := w.Slot("poll", 30*time.Second)
//	poll.Set(probe.Ready, probe.ReasonIdle)
//	for … { poll.Beat() }
//
// A beat says "this loop has come round again", so it belongs into the loop
// itself and never into a timer of its own: busy is not stuck, and a loop that
// waits for three hours of work beats while it waits. [Join] in the place of [Create]
// lets several processes have slots of one page. The reader's side, [Open] or [CheckFile], decides about all
// of them from the page, and says why: a slot is live while its last beat is no
// older than the slot allows, whatever it is busy with, and that of a process that
// has died is never live.
//
// The layout is version 2, described in docs/probe-abi.md; dockless_probe.h
// beside this file reads and writes the same page from C, examples/probe from
// Python. The package talks to the Linux kernel alone, on amd64 and arm64.
package probe
