package podmanrun

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

func TestTheProcessThatListensIsFound(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", at)
		if err != nil {
			t.Logf("%s: %v", at, err) // a machine without IPv6
			continue
		}
		port := uint16(l.Addr().(*net.TCPAddr).Port)
		ip, _, _ := net.SplitHostPort(at)
		want := fmt.Sprintf("process %d (", os.Getpid())
		if got := listener("tcp", ip, port); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, ") of this machine") {
			t.Errorf("the listener at %s is %q, want %q", l.Addr(), got, want)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if got := listener("tcp", ip, port); got != "" {
			t.Errorf("after its end, the listener at %s is %q", l.Addr(), got)
		}
	}
}

const someSockets = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 100 0 0 10 0
   2: 00000000:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000 100 0 0 10 0
`

func TestSocketsAreFoundInTheKernelsTable(t *testing.T) {
	for name, c := range map[string]struct {
		ip   string
		port uint16
		want string
	}{
		"the address itself":       {"127.0.0.1", 8080, "4711"},
		"every address":            {"", 8080, "4711"},
		"another address":          {"10.0.0.1", 8080, ""},
		"a connection":             {"127.0.0.1", 8081, ""},
		"a listener on everything": {"10.0.0.1", 8082, "4713"},
		"nobody":                   {"", 1, ""},
	} {
		if got := socketOf(strings.NewReader(someSockets), "tcp", c.ip, c.port); got != c.want {
			t.Errorf("%s: socketOf = %q, want %q", name, got, c.want)
		}
	}
}

func FuzzSocketOf(f *testing.F) {
	f.Add(someSockets)
	f.Add("0: 00000000000000000000000001000000:1F90 x 0A 4 5 6 7 8 9")
	f.Fuzz(func(_ *testing.T, table string) {
		socketOf(strings.NewReader(table), "tcp", "127.0.0.1", 8080)
	})
}
