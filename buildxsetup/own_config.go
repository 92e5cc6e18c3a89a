package buildxsetup

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/wholefile"
)

// ownConfig writes the configuration of a buildkitd of our own, whose state is in
// dir, and returns its file. Empty means that buildkitd finds one itself: where
// the machine has a configuration of buildkitd's, that one says more than we
// know, registries for example. A disk we cannot plan for is no reason not to
// build.
func ownConfig(ctx context.Context, dir string, rootless bool, log *slog.Logger) string {
	theirs := buildkitconf.DefaultFile(rootless)
	if _, err := os.Stat(theirs); err == nil {
		log.InfoContext(ctx, "buildkitd has a configuration of this machine", "file", theirs)
		return ""
	}
	v, err := buildkitconf.StatVolume(dir)
	if err != nil {
		log.WarnContext(ctx, "buildkitd starts without limits for this disk", "error", err)
		return ""
	}
	text, err := buildkitconf.Generate(v.Size, buildkitconf.Options{
		Origin:   "dockless, at each start of its own buildkitd; a file " + theirs + " takes its place",
		Shared:   true, // the state of users lies beside everything else of theirs
		Rootless: rootless,
	})
	if err != nil {
		log.WarnContext(ctx, "buildkitd starts without limits for this disk", "error", err)
		return ""
	}
	file := filepath.Join(dir, "buildkitd.toml")
	if err = os.MkdirAll(dir, 0o700); err == nil {
		err = wholefile.Write(file, 0o600, []byte(text))
	}
	if err != nil {
		log.WarnContext(ctx, "buildkitd starts without limits for this disk", "error", err)
		return ""
	}
	return file
}
