package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// path that the public images set.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// makeDebian makes a small Debian with apt, as debian:bookworm-slim is, in dir.
func makeDebian(ctx context.Context, sources aptSources, dir string) (v1.Image, error) {
	list, conf := filepath.Join(dir, "sources.list"), filepath.Join(dir, "apt.conf")
	certificates := filepath.Join(dir, "added.crt")
	for name, text := range map[string]string{list: sources.list, conf: sources.settings, certificates: sources.certificates} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil { //nolint:gosec // apt's unprivileged user reads them, and an image's users
			return nil, fmt.Errorf("making debian: %w", err)
		}
	}
	layer := filepath.Join(dir, "debian.tar")
	args := []string{
		"--variant=apt", "--format=tar", "--quiet",
		// usr-is-merged instead of usrmerge, which would bring 50 MB of Perl.
		"--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--include=usr-is-merged,passwd",
		"--aptopt=" + conf,
		"--aptopt=Apt::Install-Recommends \"false\"",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/info/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
		// The sources and settings stay, so that `apt-get install` works in a
		// Dockerfile. What mmdebstrap copies from the host besides them does not.
		`--customize-hook=rm -f "$1"/etc/apt/sources.list.d/* "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/var/cache/debconf/*-old`,
		"--customize-hook=upload " + list + " /etc/apt/sources.list",
		"--customize-hook=upload " + conf + " /etc/apt/apt.conf.d/90host",
	}
	if strings.Contains(sources.list, "https://") {
		args = append(args, "--include=ca-certificates")
	}
	if sources.certificates != "" {
		// Where ca-certificates looks for them when it is installed.
		args = append(args, `--customize-hook=mkdir -p "$1"/usr/local/share/ca-certificates`,
			"--customize-hook=upload "+certificates+" /usr/local/share/ca-certificates/host.crt")
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", append(args, sources.suite, layer, list)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making debian: mmdebstrap: %w\n%s", err, out)
	}
	return imageOf(layer, hostArch, v1.Config{Env: []string{searchPath}, Cmd: []string{"bash"}})
}

// imageOf makes an image of one layer for an architecture.
func imageOf(layerTar, arch string, config v1.Config) (v1.Image, error) {
	// zstd unpacks several times faster than gzip.
	layer, err := tarball.LayerFromFile(layerTar, tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", layerTar, err)
	}
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	image, err = mutate.AppendLayers(image, layer)
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", layerTar, err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", layerTar, err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", arch, config
	image, err = mutate.ConfigFile(image, file)
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", layerTar, err)
	}
	return image, nil
}
