package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
)

const (
	// firstPort and endPort bound the ports that are handed out. They lie below those
	// that Linux gives to clients (32768 and up): one of these could be taken between
	// the look and the use, and is for a minute after a connection has ended.
	firstPort, endPort = 20000, 30000
	// portsApart is how many ports the processes of a test run lie apart.
	portsApart = 97
)

// handedOut counts the ports that this process was given.
var handedOut atomic.Int64

// FreePorts returns the first of n ports in a row that nobody listens on, on no
// address of this machine, and that this process was not given before.
func FreePorts(ctx context.Context, n int) (int, error) {
	for range 100 {
		begin := int(handedOut.Add(int64(n))) - n + os.Getpid()*portsApart
		first := firstPort + begin%(endPort-firstPort-n)
		if free(ctx, first, n) {
			return first, nil
		}
	}
	return 0, fmt.Errorf("looking for %d free ports in a row: there are none", n)
}

// free reports whether nobody listens on n ports from first on.
func free(ctx context.Context, first, n int) bool {
	held := make([]io.Closer, 0, n)
	var err error
	for port := first; port < first+n && err == nil; port++ {
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", ":"+strconv.Itoa(port)); err == nil {
			held = append(held, l)
		}
	}
	for _, l := range held {
		err = errors.Join(err, l.Close())
	}
	return err == nil
}
