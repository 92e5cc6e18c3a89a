package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
)

// DockerfileError is a failure that BuildKit ascribes to a place in a
// Dockerfile: a mistake in it, or a step that failed.
type DockerfileError struct {
	File string
	Line int    // counted from one
	Text string // what went wrong, one line

	source *errdefs.Source
	err    error
}

func (e *DockerfileError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// Unwrap returns BuildKit's error.
func (e *DockerfileError) Unwrap() error { return e.err }

// Excerpt writes the lines around the place, the failing ones marked.
func (e *DockerfileError) Excerpt(w io.Writer) error { return e.source.Print(w) }

// failure turns the error of a solve into one line with advice.
func failure(ctx context.Context, err error, node buildxsetup.Node, file string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("building: %w", context.Cause(ctx))
	}
	if code := grpcerrors.Code(err); code == codes.Unavailable {
		if _, pingErr := node.Ping(ctx); pingErr != nil {
			return hint.With(fmt.Errorf("building: %w", pingErr), "set BUILDKIT_HOST to the address of a running buildkitd")
		}
	}
	text := oneLine(err)
	out := fmt.Errorf("building: %w", &solveError{text: text, err: err})
	for _, src := range errdefs.Sources(err) {
		if src.Info == nil || len(src.Ranges) == 0 {
			continue
		}
		name := src.Info.Filename
		if file != "" {
			name = file
		}
		out = fmt.Errorf("building: %w", &DockerfileError{File: name, Line: int(src.Ranges[0].Start.Line), Text: text, source: src, err: err})
		break
	}
	return adviseFrontend(advise(out, text), err)
}

// solveError shortens BuildKit's text without losing its error.
type solveError struct {
	text string
	err  error
}

func (e *solveError) Error() string { return e.text }
func (e *solveError) Unwrap() error { return e.err }

// oneLine takes the layers off BuildKit's text that say only where in BuildKit
// the error passed by.
func oneLine(err error) string {
	text := strings.TrimSpace(err.Error())
	for _, layer := range []string{"failed to solve: ", "dockerfile parse error on line "} {
		text = strings.TrimPrefix(text, layer)
	}
	text, _, _ = strings.Cut(text, "\n")
	return text
}

// advise adds hints. What a registry or a frontend said reaches us as text over
// gRPC, the status code being "unknown" for nearly everything, so these few
// cases go by the text; a miss costs the hint only.
func advise(err error, text string) error {
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("401 Unauthorized", "403 Forbidden", "insufficient_scope", "authentication required", "failed to authorize", "denied: "):
		return hint.With(err, "log in to the registry, with docker login or the task Docker@2, under an account that may do this")
	case has("secret ") && has(": not found"):
		return hint.With(err, "give the build the secret with --secret id=name,src=file or --secret id=name,env=VARIABLE")
	case has("target stage ") && has("could not be found"):
		return hint.With(err, "name a stage of the Dockerfile with --target")
	case has("x509: ", "server gave HTTP response to HTTPS client"):
		return hint.With(err, "give buildkitd the registry's certificate, or name the registry as insecure")
	case has("failed to push "):
		return hint.With(err, "see to the registry, then build again: the builder keeps the steps that ran, and only the push is made again")
	case has("failed to resolve source metadata") && (isUnreachable(errors.New(text)) || has(": 50", ": 429 ")):
		return hint.With(err, "see to the registry of that image, and to the way there from buildkitd: its proxy, its DNS, the mirrors in buildkitd.toml")
	case has("exec format error"):
		return hint.With(err, "the node cannot run this platform: install an emulator (binfmt_misc) or add a node of the platform to BUILDKIT_HOST")
	}
	return err
}
