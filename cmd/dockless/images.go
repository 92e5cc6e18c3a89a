package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/internal/telemetry"
)

// imageWorks is what a command builds images with.
type imageWorks struct {
	*imagebuild.Builder
	auth *registryauth.Auth
	log  *slog.Logger
}

// withImages hands to use what a command builds images with.
func withImages(cmd *cobra.Command, use func(context.Context, imageWorks) error) (err error) {
	ctx, images, end, err := openImages(cmd.Context(), cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	return use(ctx, images)
}

// openImages makes what a command builds images with. Builds get the context that
// it returns. End is called once: it waits for the cache exports, because the
// process ends with them.
func openImages(ctx context.Context, cmd *cobra.Command) (_ context.Context, _ imageWorks, end func() error, err error) {
	var ends []func() error
	end = func() error {
		var errs []error
		for _, end := range slices.Backward(ends) {
			errs = append(errs, end())
		}
		return errors.Join(errs...)
	}
	fail := func(err error) (context.Context, imageWorks, func() error, error) {
		return ctx, imageWorks{}, nil, errors.Join(err, end())
	}
	config, logConfig, err := builderSettings(cmd, userStateDir())
	if err != nil {
		return fail(err)
	}
	var spans telemetry.Config
	if err := loadSettings(&spans); err != nil {
		return fail(err)
	}
	spans.Withhold = withinJob()
	log := logging.New(cmd.ErrOrStderr(), quieter(logConfig))
	ctx, stopTelemetry, err := startTelemetry(ctx, spans, log)
	if err != nil {
		return fail(err)
	}
	ends = append(ends, func() error { stopTelemetry(); return nil })
	auth, err := registryCredentials(log)
	if err != nil {
		return fail(err)
	}
	builder, err := buildxsetup.Ensure(ctx, config, log)
	if err != nil {
		return fail(err)
	}
	ends = append(ends, func() error { return builder.Close(ctx) })
	gate, err := openGate(config, log)
	if err != nil {
		return fail(err)
	}
	ends = append(ends, func() error { gate.Close(); return nil })
	images := imagebuild.New(builder, log, gated(imagebuild.Options{StateDir: filepath.Join(userStateDir(), "builds")}, gate))
	ends = append(ends, func() error { closeImages(ctx, images, log); return nil })
	return ctx, imageWorks{Builder: images, auth: auth, log: log}, end, nil
}

// registryCredentials are those of the Docker configuration and of the machine.
func registryCredentials(log *slog.Logger) (*registryauth.Auth, error) {
	auth, err := registryauth.Load(dockerConfigDir())
	if err != nil {
		return nil, err
	}
	clouds, err := openRegistries(log)
	if err != nil {
		return nil, err
	}
	return auth.With(clouds)
}
