package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

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

// withImages makes what a command builds images with, hands it to use and ends it:
// first the cache exports, because the process ends with them.
func withImages(cmd *cobra.Command, use func(context.Context, imageWorks) error) (err error) {
	config, logConfig, err := builderSettings(cmd, userStateDir())
	if err != nil {
		return err
	}
	var spans telemetry.Config
	if err := loadSettings(&spans); err != nil {
		return err
	}
	log := logging.New(cmd.ErrOrStderr(), quieter(logConfig))
	ctx, stopTelemetry, err := startTelemetry(cmd.Context(), spans, log)
	if err != nil {
		return err
	}
	defer stopTelemetry()
	auth, err := registryCredentials(log)
	if err != nil {
		return err
	}
	builder, err := buildxsetup.Ensure(ctx, config, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, builder.Close(ctx)) }()
	gate, err := openGate(config, log)
	if err != nil {
		return err
	}
	defer gate.Close()
	images := imagebuild.New(builder, log, gated(imagebuild.Options{StateDir: filepath.Join(userStateDir(), "builds")}, gate))
	defer closeImages(ctx, images, log)
	return use(ctx, imageWorks{Builder: images, auth: auth, log: log})
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
