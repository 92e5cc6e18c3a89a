package launch

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestTheServerOutlivesAWantOfDescriptors(t *testing.T) {
	ours, theirs := pair(t)
	s := &server{patience: time.Minute}
	broken := errors.New("broken")
	turns := []struct {
		conn *net.UnixConn
		err  error
	}{
		{nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}},
		{theirs, nil},
		{nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.ECONNABORTED)}},
		{nil, broken},
	}
	turn := 0
	err := s.accept(func() (*net.UnixConn, error) { turn++; return turns[turn-1].conn, turns[turn-1].err }, make(chan struct{}))
	if !errors.Is(err, broken) || turn != len(turns) {
		t.Errorf("accept = %v after %d turns, want the last one's error", err, turn)
	}
	_ = ours.SetDeadline(time.Now().Add(time.Minute))
	if err := send(ours, Program{Probe: filepath.Join(t.TempDir(), "no-such")}); err != nil {
		t.Fatal(err)
	}
	var answer reply
	if _, err := receive(ours, &answer); err != nil || answer.Error == "" {
		t.Errorf("the connection after that: %+v, %v, want an answer", answer, err)
	}
}

func TestTheServerEndsWhileItWaitsForRoom(t *testing.T) {
	done := make(chan struct{})
	close(done)
	err := (&server{}).accept(func() (*net.UnixConn, error) { return nil, syscall.EMFILE }, done)
	if !errors.Is(err, syscall.EMFILE) {
		t.Errorf("accept = %v", err)
	}
}

func TestWhoSaysNothingKeepsNoPlace(t *testing.T) {
	ours, theirs := pair(t)
	s := &server{patience: 20 * time.Millisecond}
	s.serve(theirs) // returns
	_ = ours.SetDeadline(time.Now().Add(time.Minute))
	var answer reply
	if _, err := receive(ours, &answer); err == nil {
		t.Errorf("the server said %+v", answer)
	}
}

func TestAServerThatSaysNothingIsNamed(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = start(t.Context(), socket, Program{Path: "true"}, os.Stderr, os.Stderr, 20*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "nothing in the container answered within 20ms") {
		t.Errorf("start = %v, want the cause", err)
	}
}
