package cgroup

import (
	"errors"
	"strings"
	"sync"
	"syscall"
)

// kernelLog tells which programs the kernel ended. It is the machine's, so
// containers have none, and on most machines only root may read it. A nil kernelLog
// tells nothing. It may be used concurrently.
type kernelLog struct {
	mu   sync.Mutex
	fd   int // it gives one record for each read, and does not wait
	seen []victim
}

// victim is a program that the kernel ended for lack of memory.
type victim struct{ group, name string }

// openKernelLog opens the log at its end, or returns nil.
func openKernelLog(path string) *kernelLog {
	if path == "" {
		return nil
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	const end = 2 // of lseek
	if _, err := syscall.Seek(fd, 0, end); err != nil {
		_ = syscall.Close(fd) // nothing was written
		return nil
	}
	return &kernelLog{fd: fd}
}

const (
	// largestRecord is the most that one read returns, of all kernels so far.
	largestRecord = 8 << 10
	// mostRecords bounds what is read at once. The kernel keeps fewer.
	mostRecords = 1 << 16
)

// victims returns the names of the programs in group, as the kernel names it from
// here, that were ended since the log was opened.
func (l *kernelLog) victims(group string) []string {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	record := make([]byte, largestRecord)
	for range mostRecords {
		n, err := syscall.Read(l.fd, record)
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.EINTR) {
			continue // older records were overwritten
		}
		if err != nil || n <= 0 {
			break
		}
		for line := range strings.Lines(string(record[:n])) {
			if v, ok := parseVictim(line); ok {
				l.seen = append(l.seen, v)
			}
		}
	}
	var names []string
	for _, v := range l.seen {
		if strings.HasSuffix(v.group, group) { // the kernel names it from the root of the machine
			names = append(names, v.name)
		}
	}
	return names
}

func (l *kernelLog) close() {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		_ = syscall.Close(l.fd) // nothing was written
	}
}

// parseVictim reads "…;oom-kill:…,task_memcg=GROUP,task=NAME,pid=N,uid=N", which is
// what dump_oom_victim of mm/oom_kill.c writes. A name may have any character.
func parseVictim(line string) (victim, bool) {
	_, text, ok := strings.Cut(line, ";oom-kill:")
	if !ok {
		return victim{}, false
	}
	_, text, ok = strings.Cut(text, ",task_memcg=")
	if !ok {
		return victim{}, false
	}
	group, text, ok := strings.Cut(text, ",task=")
	end := strings.LastIndex(text, ",pid=")
	if !ok || end <= 0 {
		return victim{}, false
	}
	return victim{group: group, name: text[:end]}, true
}
