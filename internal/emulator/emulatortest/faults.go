package emulatortest

import (
	"context"
	"errors"
	"time"

	"github.com/dockless-ci/dockless/internal/emulator"
)

// Fail makes calls fail as [emulator.Server.Fail] does, and fails the test when f
// is not a fault.
func (s *Server) Fail(f emulator.Fault) emulator.FaultID {
	s.t.Helper()
	id, err := s.Server.Fail(f)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// AwaitHits waits at most twenty seconds until a fault has hit n calls, and fails
// the test when it does not.
func (s *Server) AwaitHits(id emulator.FaultID, n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeoutCause(s.t.Context(), 20*time.Second, errors.New("not within 20s"))
	defer cancel()
	if err := s.Server.AwaitHits(ctx, id, n); err != nil {
		s.t.Fatal(err)
	}
}

// Status returns a fault that answers the first count calls that match with a
// status and the error envelope of the service; a count of zero is all of them.
func Status(match string, code, count int) emulator.Fault {
	return emulator.Fault{Match: match, Kind: emulator.FaultStatus, Answer: emulator.FaultAnswer{Code: code}, Count: count}
}
