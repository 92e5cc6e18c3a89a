package launch

import (
	"encoding/binary"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pair returns two connected sockets.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	descriptors, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]*net.UnixConn, 2)
	for i, d := range descriptors {
		f := os.NewFile(uintptr(d), "socket")
		conn, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close() // the connection has its own
		t.Cleanup(func() { _ = conn.Close() })
		ends[i] = conn.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// What is in the container can connect, too, and say anything.
func FuzzFrame(f *testing.F) {
	frame := func(body string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	f.Add(frame(`{"path":"sh","args":["-c","true"],"dir":"/"}`))
	f.Add(frame(`{}`)[:3])
	f.Add([]byte("\xff\xff\xff\xff{}"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, b := pair(t)
		_ = b.SetDeadline(time.Now().Add(time.Minute))
		go func() {
			_, _ = a.Write(data) // the other side may be gone
			_ = a.CloseWrite()
		}()
		var p Program
		files, err := receive(b, &p)
		if len(files) != 0 {
			t.Errorf("files came with %q", data)
		}
		if err == nil && len(data) < 4 {
			t.Errorf("%q was taken for a frame", data)
		}
	})
}

func TestWhatCannotBeAFrameIsNotSent(t *testing.T) {
	a, _ := pair(t)
	if err := send(a, Program{Env: []string{strings.Repeat("x", maxFrame)}}); err == nil {
		t.Error("a frame above the limit was sent")
	}
}
