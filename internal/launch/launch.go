// Package launch knows how to start processes in a container from outside of it,
// without an engine between: a copy of this program is the first process there
// ([Serve]), listens on a socket in a mounted directory, and takes one process for
// each connection ([Start]).
//
// What to run comes over the socket, so that a secret in it is on no command line,
// in no configuration of a container and in no file. The ends of the pipes for
// output come with it, so what a process writes reaches the caller as directly as
// on the host. The connection is the process's life: bytes are signals for its
// group, and its end, which the kernel also brings about when the caller dies,
// kills the group. As the first process, the server also reaps orphans.
//
// It talks to the operating system only.
package launch

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Command is the first argument by which a program becomes a server; the second
// one is the path of the socket.
const Command = "__launch"

// maxFrame bounds what is read of one request, in bytes. The kernel takes 6 MiB of
// arguments and environment at most.
const maxFrame = 16 << 20

// Program is one process to start.
type Program struct {
	Path    string   `json:"path"` // without a slash: looked for on the process's PATH
	Args    []string `json:"args,omitempty"`
	Dir     string   `json:"dir,omitempty"`
	Env     []string `json:"env,omitempty"`     // on top of what the image and the engine set
	Prepend []string `json:"prepend,omitempty"` // directories in front of PATH
	Home    string   `json:"home,omitempty"`    // HOME of a user who has none that can be written

	// Probe is a directory to try the user's rights in instead of starting
	// anything: a directory "inside" with a file is made there, and "outside" is
	// removed with what it holds.
	Probe string `json:"probe,omitempty"`
}

// Why a process was not started.
const (
	kindLook = "look" // the program is not on PATH
	kindDir  = "dir"  // the working directory cannot be used
)

// ErrNotFound says that a program is not in the container.
var ErrNotFound = errors.New("it is not on PATH in the container")

// reply is what the server says: once when the process was started or could not
// be, and once when it has ended.
type reply struct {
	PID   int    `json:"pid,omitempty"`
	Kind  string `json:"kind,omitempty"`
	Error string `json:"error,omitempty"`
	Exit  *Exit  `json:"exit,omitempty"`
}

// Exit is how a process ended.
type Exit struct {
	Code        int   `json:"code"`            // 128 plus the signal when one ended it
	OutOfMemory bool  `json:"oom,omitempty"`   // the kernel killed for want of memory in its container
	Limit       int64 `json:"limit,omitempty"` // of the container's memory in bytes, with OutOfMemory; zero: unknown

	// Memory is the most that the process, or the largest of those that it waited
	// for, had at one time, in bytes. The kernel counts the server's own memory for
	// a process until its program is loaded: with AtMost it was that or less.
	Memory int64         `json:"memory,omitempty"`
	AtMost bool          `json:"atMost,omitempty"`
	CPU    time.Duration `json:"cpu,omitempty"` // of it and of those that it waited for
}

// send writes a frame, its length first, with open files beside it.
func send(conn *net.UnixConn, value any, files ...*os.File) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fmt.Errorf("the process with its environment has %d bytes, more than %d", len(body), maxFrame)
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(body))) //nolint:gosec // bounded above
	var rights []byte
	if len(files) > 0 {
		descriptors := make([]int, len(files))
		for i, f := range files {
			descriptors[i] = int(f.Fd())
		}
		rights = syscall.UnixRights(descriptors...)
	}
	// The files travel with the first bytes; a large body follows in pieces.
	if _, _, err := conn.WriteMsgUnix(frame, rights, nil); err != nil {
		return err
	}
	_, err = conn.Write(body)
	return err
}

// mostFiles is how many files may come with a frame.
const mostFiles = 2

// receive reads a frame into value, and returns the files that came with it. They
// are the caller's to close, also after an error.
func receive(conn *net.UnixConn, value any) (files []*os.File, err error) {
	var header [4]byte
	rights := make([]byte, syscall.CmsgSpace(4*mostFiles))
	n, nr, _, _, err := conn.ReadMsgUnix(header[:], rights)
	if err != nil {
		return nil, err
	}
	if files, err = opened(rights[:nr]); err != nil {
		return files, err
	}
	if n == 0 {
		return files, io.EOF
	}
	if _, err := io.ReadFull(conn, header[n:]); err != nil {
		return files, err
	}
	size := binary.BigEndian.Uint32(header[:])
	if size > maxFrame {
		return files, fmt.Errorf("a frame of %d bytes, more than %d", size, maxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(conn, body); err != nil {
		return files, err
	}
	return files, json.Unmarshal(body, value)
}

// opened returns the files of a control message.
func opened(rights []byte) (files []*os.File, err error) {
	messages, err := syscall.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		descriptors, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, d := range descriptors {
			syscall.CloseOnExec(d)
			files = append(files, os.NewFile(uintptr(d), "output"))
		}
	}
	return files, nil
}
