package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/pipeline"
)

func TestExitCodes(t *testing.T) {
	alive := t.Context()
	stopped, stop := context.WithCancelCause(alive)
	stop(cmdline.InterruptError{Signal: os.Interrupt})
	for _, test := range []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"any error", alive, errors.New("no"), 1},
		{"a canceled context that no signal ended", alive, context.Canceled, 1},
		{"a failed job", alive, cmdline.ExitWith(cmdline.ExitFailed), 1},
		{"bad settings", alive, fmt.Errorf("agent: %w", cmdline.Unusable(errors.New("no"))), 2},
		{"bad settings under a hint", alive, hint.With(cmdline.Usagef("no"), "do"), 2},
		{"a bad pipeline", alive, errors.Join(&pipeline.Error{Message: "no"}, errors.New("x")), 2},
		{"a refused token", alive, fmt.Errorf("registering: %w", ado.ErrUnauthorized), 2},
		{"a refused Azure identity", alive, fmt.Errorf("registering: %w", &entra.RefusedError{Status: 401}), 2},
		{"a Microsoft Entra that is down", alive, fmt.Errorf("registering: %w", &entra.RefusedError{Status: 503}), 1},
		{"an unknown pool", alive, fmt.Errorf("registering: %w", ado.ErrPoolNotFound), 2},
		{"interrupted", stopped, fmt.Errorf("waiting: %w", context.Canceled), 130},
		{"interrupted replay", stopped, cmdline.ExitWith(cmdline.ExitInterrupted), 130},
		{"interrupted with bad settings", stopped, cmdline.Usagef("no"), 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := exitCode(test.ctx, test.err); got != test.want {
				t.Errorf("exitCode(%v) = %d, want %d", test.err, got, test.want)
			}
		})
	}
}

func TestAnErrorIsOneLineAndItsHintsFollow(t *testing.T) {
	err := hint.With(errors.Join(
		hint.With(errors.New("first"), "set A\nto b"),
		errors.New("\n  second,\n\tgoes on\n"),
	), "read the page")
	var got bytes.Buffer
	printError(&got, err)
	want := "error: first; second,; goes on\nhint: read the page\nhint: set A; to b\n"
	if got.String() != want {
		t.Errorf("printError printed\n%s, want\n%s", got.String(), want)
	}
}
