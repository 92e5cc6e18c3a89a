package cmdline

import (
	"context"
	"log/slog"
	"os"

	"github.com/dockless-ci/dockless/internal/span"
	"github.com/dockless-ci/dockless/internal/telemetry"
)

// StartTrace returns a context whose spans are sent, and what sends the rest of
// them when the command ends. The spans of a command that somebody's own trace
// started are below theirs (TRACEPARENT).
func StartTrace(ctx context.Context, c telemetry.Config, version string, log *slog.Logger) (context.Context, func(), error) {
	c.Version = version
	t, err := telemetry.Start(ctx, c, log)
	if err != nil {
		return ctx, nil, Unusable(err)
	}
	parent := span.Parent(ctx, os.Getenv(span.VariableParent), os.Getenv(span.VariableState))
	return t.Context(ctx, parent), func() { t.Stop(ctx) }, nil
}

// WithinJob reports whether a job's step started this process: of our agent or of another.
// What it is told then holds secrets of that job.
func WithinJob() bool { return os.Getenv("DOCKLESS_JOB") != "" || os.Getenv("TF_BUILD") != "" }
