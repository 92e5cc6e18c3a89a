package podmanrun

import (
	"cmp"
	"fmt"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
)

// exitText says what an exit code means, in words for those that shells and
// container tools give a meaning to; empty for a program's own.
func exitText(code int) string {
	switch {
	case code == 125:
		return "what starts programs in it failed itself"
	case code == 126:
		return "a program was found but could not be run"
	case code == 127:
		return "a program was not found"
	case code > 128 && code <= 128+64: // a shell's way to tell a signal, which Podman follows
		name := cmp.Or(unix.SignalName(unix.Signal(code-128)), fmt.Sprintf("signal %d", code-128))
		return "killed by " + name + map[int]string{
			139: ", an invalid memory access",
			134: ", which it sent itself",
			143: ", which asks it to end",
		}[code]
	}
	return ""
}

// endText is how an end is told before more is known of it.
func endText(code int) string { return fmt.Sprintf("the container ended with exit code %d", code) }

// endOf says how a container ended, and whether memory was the reason.
func endOf(code int, killed bool, request *createRequest) (FailureKind, string) {
	text := endText(code)
	if meaning := exitText(code); meaning != "" {
		text += " (" + meaning + ")"
	}
	limit := int64(0)
	if r := request.ResourceLimits; r != nil && r.Memory != nil {
		limit = r.Memory.Limit
	}
	bytes := units.BytesSize(float64(limit))
	switch {
	case killed && limit > 0:
		return FailureOutOfMemory, fmt.Sprintf("out of memory: it needed more than its limit of %s; %s", bytes, text)
	case killed:
		return FailureOutOfMemory, "out of memory: the machine or the pod has no more, and the container has no limit of its own; " + text
	case code == 128+int(unix.SIGKILL) && limit > 0:
		// Not every pair of Podman and conmon tells; nobody else kills here.
		return FailureOutOfMemory, fmt.Sprintf("out of memory, most likely: it was killed, and its limit is %s; %s", bytes, text)
	case code == 128+int(unix.SIGKILL):
		return FailureExited, text + ": by the kernel when the machine or the pod had no more memory, or by somebody"
	}
	return FailureExited, text
}
