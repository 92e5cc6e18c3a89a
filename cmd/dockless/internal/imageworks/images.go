// Package imageworks knows how to open what a command builds images with, the builder,
// its gate, credentials and a trace, and where a build that a person or a script asked
// for comes from.
package imageworks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/credentials"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/internal/telemetry"
)

// Images is what a command builds images with.
type Images struct {
	*imagebuild.Builder
	Auth *registryauth.Auth
}

// With hands to use what a command builds images with.
func With(cmd *cobra.Command, version string, use func(context.Context, Images) error) (err error) {
	ctx, images, end, err := Open(cmd.Context(), cmd, version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	return use(ctx, images)
}

// Open makes what a command builds images with. Builds get the context that
// it returns. End is called once: it waits for the cache exports, because the
// process ends with them.
func Open(ctx context.Context, cmd *cobra.Command, version string) (_ context.Context, _ Images, end func() error, err error) {
	var ends []func() error
	end = func() error {
		var errs []error
		for _, end := range slices.Backward(ends) {
			errs = append(errs, end())
		}
		return errors.Join(errs...)
	}
	fail := func(err error) (context.Context, Images, func() error, error) {
		return ctx, Images{}, nil, errors.Join(err, end())
	}
	config, logConfig, err := BuilderSettings(cmd, settings.StateDir())
	if err != nil {
		return fail(err)
	}
	var spans telemetry.Config
	if err := settings.Load(&spans); err != nil {
		return fail(err)
	}
	spans.Withhold = cmdline.WithinJob()
	log := logging.New(cmd.ErrOrStderr(), settings.Quieter(logConfig))
	ctx, stopTelemetry, err := cmdline.StartTrace(ctx, spans, version, log)
	if err != nil {
		return fail(err)
	}
	ends = append(ends, func() error { stopTelemetry(); return nil })
	auth, err := credentials.ForBuilds(log)
	if err != nil {
		return fail(err)
	}
	builder, err := buildxsetup.Ensure(ctx, config, log)
	if err != nil {
		return fail(err)
	}
	ends = append(ends, func() error { return builder.Close(ctx) })
	gate, err := OpenGate(config, log)
	if err != nil {
		return fail(err)
	}
	ends = append(ends, func() error { gate.Close(); return nil })
	images := imagebuild.New(builder, log, Gated(imagebuild.Options{StateDir: filepath.Join(settings.StateDir(), "builds")}, gate))
	ends = append(ends, func() error { Close(ctx, images, log); return nil })
	return ctx, Images{Builder: images, Auth: auth}, end, nil
}

// Close waits for the cache exports of a builder. The bound of each began
// with it, so nothing is cut short that has not used its own up. A cache that is
// not there fails nobody.
func Close(ctx context.Context, b *imagebuild.Builder, log *slog.Logger) {
	const bound = buildcache.DefaultExportTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("not done within %s", bound))
	defer cancel()
	if err := b.Close(ctx); err != nil {
		log.WarnContext(ctx, "caches not exported", "error", err)
	}
}

// BuilderSettings reads what every builder command needs. A command that ends
// at once must not start a buildkitd that would end with it, so ownState is
// empty for those.
func BuilderSettings(cmd *cobra.Command, ownState string) (buildxsetup.Config, logging.Config, error) {
	var (
		config buildxsetup.Config
		log    logging.Config
	)
	if home, err := os.UserHomeDir(); err == nil {
		config.Home = home
	}
	if err := settings.Load(&log, &config); err != nil {
		return config, log, err
	}
	if name, err := cmd.Flags().GetString("builder"); err == nil && name != "" {
		config.Name = name
	}
	config.StateDir = ownState
	return config, log, nil
}
