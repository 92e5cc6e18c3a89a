package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/retry"
)

// comebackTimeout bounds the wait for a node that died in the middle of a build
// to answer again: a buildkitd that is started anew answers within seconds, one
// whose container is placed on another machine may take half a minute.
const comebackTimeout = 30 * time.Second

func isEnd(err error) bool { return errors.Is(err, io.EOF) }

// isTransport reports whether a solve failed because the connection to the node
// did, so that it may well succeed elsewhere. What buildkitd itself answered is
// never that: a mistake in the Dockerfile, a step that failed, a registry that
// refused.
func isTransport(err error) bool {
	if err == nil || len(errdefs.Sources(err)) > 0 || strings.Contains(err.Error(), "did not complete successfully") {
		return false
	}
	if status, ok := grpcerrors.AsGRPCStatus(err); ok {
		switch status.Code() {
		case codes.Unavailable:
			return true
		case codes.Canceled:
			// Nobody here did: buildkitd cancels its builds when it is told to end,
			// and gRPC the calls of a connection that closes.
			return true
		}
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, context.Canceled)
}

// elsewhere finds a node to build a share on whose node died: another one that
// offers all its platforms, else the same one when it answers again.
func (w *work) elsewhere(ctx context.Context, s share, cause error) (assigned, error) {
	w.b.fleet.leaveOut(s.node.Name)
	others := nodesThat(w.b.current(), func(n buildxsetup.Node) bool {
		if n.Name == s.node.Name {
			return false
		}
		for _, p := range s.wanted {
			if !n.Offers(p) {
				return false
			}
		}
		return true
	})
	if len(others) > 0 {
		next, err := w.b.assignTo(ctx, others, s.wanted, w.key())
		if err == nil && len(next) == 1 {
			return next[0], nil
		}
		for _, n := range next { // nobody has all of it
			n.end()
		}
	}
	if ctx.Err() != nil {
		return assigned{}, fmt.Errorf("building: %w", context.Cause(ctx))
	}
	policy := retry.Policy{
		First: 200 * time.Millisecond, Max: 2 * time.Second, Total: comebackTimeout,
		Retryable: func(error) bool { return true },
	}
	err := retry.Do(ctx, policy, func(ctx context.Context) error {
		workers, err := s.node.Ping(ctx)
		if err == nil {
			w.b.fleet.meet(s.node.Answered(workers))
		}
		return err
	})
	if ctx.Err() != nil {
		return assigned{}, fmt.Errorf("building: %w", context.Cause(ctx))
	}
	if err != nil {
		return assigned{}, unreachable(fmt.Errorf("node %s was lost (%s), and nobody else builds for it: %w", s.node.Name, oneLine(cause), err))
	}
	return assigned{share: s, end: w.b.fleet.begin(s.node.Name)}, nil
}

// unreachable adds what to do about nodes that do not answer.
func unreachable(err error) error {
	return hint.With(fmt.Errorf("building: %w", err), "set BUILDKIT_HOST to the address of a running buildkitd")
}
