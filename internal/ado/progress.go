package ado

import (
	"context"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

// restPiece is how long a loop waits without a sign that it is there. The beat of
// several loops comes as late as the slowest of them does, so that the end of one is
// noticed this much later at least; the sign itself costs next to nothing.
const restPiece = 10 * time.Second

type attendedKey struct{}

// Attended returns a context of a loop whose requests tell that the loop comes on:
// turn is called, by the goroutines that make them, whenever an attempt of a request
// has ended, with or without success, and every ten seconds of a pause between
// attempts. It is not called while an attempt is under way, which is bounded by
// [Options.Timeout]. It must not block, and may be called concurrently.
func Attended(ctx context.Context, turn func()) context.Context {
	return context.WithValue(ctx, attendedKey{}, turn)
}

// attend says that the loop of ctx has come round, if anybody wants to know.
func attend(ctx context.Context) {
	if turn, ok := ctx.Value(attendedKey{}).(func()); ok {
		turn()
	}
}

// rest waits as [retry.Wait] does, and attends meanwhile: a pause that a server asks
// for may be longer than a loop may be silent, and so may any with the attempt after it.
func rest(ctx context.Context, d time.Duration) error {
	for ; d > restPiece; d -= restPiece {
		if err := retry.Wait(ctx, restPiece); err != nil {
			return err
		}
		attend(ctx)
	}
	err := retry.Wait(ctx, d)
	attend(ctx)
	return err
}

// awaken waits for an element of wake, and attends meanwhile. It fails with the cause
// of ctx.
func awaken(ctx context.Context, wake <-chan struct{}) error {
	for {
		timer := time.NewTimer(restPiece)
		select {
		case <-wake:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
			attend(ctx)
		}
	}
}

// occupy waits for the one place in busy and takes it, and attends meanwhile: whoever
// has it is a loop as well, whose own silence is what counts. It fails with the cause
// of ctx.
func occupy(ctx context.Context, busy chan<- struct{}) error {
	for {
		timer := time.NewTimer(restPiece)
		select {
		case busy <- struct{}{}:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
			attend(ctx)
		}
	}
}
