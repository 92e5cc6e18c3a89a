package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// hostArch is the architecture of the packages and images.
const hostArch = runtime.GOARCH

// busyboxArchs are the architectures of the busybox image. Tests build for the
// one that is not the host's with an emulator.
var busyboxArchs = []string{"amd64", "arm64"}

// makeBusybox makes an index of images of Debian's static busybox, in dir: one
// program with a link for each of its commands.
func makeBusybox(ctx context.Context, sources aptSources, dir string) (v1.ImageIndex, error) {
	own, err := downloadBusybox(ctx, filepath.Join(dir, hostArch), nil)
	if err != nil {
		return nil, err
	}
	// The release has one configuration of busybox for all architectures, so the
	// one that runs here speaks for the others.
	list, err := exec.CommandContext(ctx, own, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("listing busybox's commands: %w", err)
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range busyboxArchs {
		program := own
		if arch != hostArch {
			settings, err := foreignApt(ctx, sources, filepath.Join(dir, "apt"), arch)
			if err != nil {
				return nil, err
			}
			if program, err = downloadBusybox(ctx, filepath.Join(dir, arch), settings); err != nil {
				return nil, err
			}
		}
		layer := filepath.Join(dir, arch+".tar")
		if err := writeBusybox(layer, program, strings.Fields(string(list))); err != nil {
			return nil, fmt.Errorf("packing busybox for %s: %w", arch, err)
		}
		image, err := imageOf(layer, arch, v1.Config{Env: []string{searchPath}, Cmd: []string{"sh"}})
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return index, nil
}

// downloadBusybox gets the package into dir, which it makes, and returns the
// program's path. Settings of apt choose another architecture than the host's.
func downloadBusybox(ctx context.Context, dir string, settings []string) (string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // apt's unprivileged user reads in it
		return "", fmt.Errorf("getting busybox: %w", err)
	}
	download := append([]string{"apt-get", "download", "-q", "-o", "APT::Sandbox::User=root"}, settings...)
	for _, args := range [][]string{
		append(download, "busybox-static"),
		{"sh", "-c", "dpkg-deb -x busybox-static_*.deb unpacked"},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("getting busybox: %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	for _, place := range []string{"bin", "usr/bin"} {
		path := filepath.Join(dir, "unpacked", place, "busybox")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New("getting busybox: no program in its package")
}

// writeBusybox writes the image's file system.
func writeBusybox(layer, program string, commands []string) error {
	binary, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	file, err := os.Create(layer)
	if err != nil {
		return err
	}
	w := tar.NewWriter(file)
	add := func(h *tar.Header, body []byte) {
		h.Size = int64(len(body))
		if err == nil {
			err = w.WriteHeader(h)
		}
		if err == nil && len(body) > 0 {
			_, err = w.Write(body)
		}
	}
	for _, name := range []string{"bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "usr/bin", "usr/sbin", "var"} {
		add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}, nil)
	}
	add(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil)
	add(&tar.Header{Typeflag: tar.TypeDir, Name: "var/tmp/", Mode: 0o1777}, nil)
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, binary)
	for _, command := range commands {
		if command != "busybox" {
			add(&tar.Header{Typeflag: tar.TypeLink, Name: "bin/" + command, Linkname: "bin/busybox", Mode: 0o755}, nil)
		}
	}
	add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/env", Linkname: "../../bin/env", Mode: 0o777}, nil)
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644},
		[]byte("root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"))
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644},
		[]byte("root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"))
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/nsswitch.conf", Mode: 0o644}, []byte("hosts: files dns\n"))
	return errors.Join(err, w.Close(), file.Close())
}
