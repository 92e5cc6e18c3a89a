package main

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
)

// recipeFiles hold a Dockerfile and its context for each image that is made
// with BuildKit.
//
//go:embed recipes
var recipeFiles embed.FS

// recipe says how one image is made and what it is called.
type recipe struct {
	name string   // also its folder below recipes, if it has a Dockerfile
	tags []string // repository:tag below docker.io; the first is the image's own
	// goroot adds the Go distribution that builds this to the Dockerfile's
	// contexts: Debian's Go is too old for this repository.
	goroot bool
}

// baseTag is the image that every Dockerfile of the recipes begins from.
const baseTag = "library/debian:bookworm-slim"

// recipes lists the images, bases first. Tags that name a product or version
// which Debian lacks point at the closest stand-in: mysql is MariaDB.
func recipes() []recipe {
	return []recipe{
		{name: "debian", tags: []string{baseTag, "library/debian:bookworm", "library/debian:12", "library/debian:12-slim", "library/debian:latest"}},
		{name: "busybox", tags: []string{"library/busybox:latest", "library/busybox:1", "library/busybox:1.36", "library/busybox:stable"}},
		{name: "mysql", tags: []string{"library/mysql:8", "library/mysql:8.0", "library/mysql:8.4", "library/mysql:latest", "library/mariadb:10.11", "library/mariadb:10", "library/mariadb:latest"}},
		{name: "golang", goroot: true, tags: []string{"library/golang:1.26", "library/golang:1.26-bookworm", "library/golang:1", "library/golang:latest"}},
		{name: "postgres", tags: []string{"library/postgres:15", "library/postgres:16", "library/postgres:latest"}},
		{name: "redis", tags: []string{"library/redis:7", "library/redis:7-bookworm", "library/redis:latest"}},
		{name: "nginx", tags: []string{"library/nginx:1.22", "library/nginx:1", "library/nginx:stable", "library/nginx:latest"}},
		{name: "php", tags: []string{"library/php:8.2-fpm", "library/php:8-fpm", "library/php:fpm"}},
	}
}

// made reports whether the recipe is one of those built in code, without a
// Dockerfile.
func (r recipe) made() bool { return r.name == "debian" || r.name == "busybox" }

// hash names everything the image is made of: the recipe, its files, the host's
// package sources, and base, the hash of the image below it. Packages that
// change within a release do not change it.
func (r recipe) hash(sources aptSources, base string) (string, error) {
	sum := sha256.New()
	sum.Write(fmt.Appendln(nil, r.name, r.tags, base, recipeVersion, runtime.GOARCH))
	sum.Write(fmt.Appendln(nil, sources.suite, sources.list, sources.settings, sources.certificates))
	if r.name == "busybox" {
		sum.Write(fmt.Appendln(nil, busyboxArchs))
	}
	if r.goroot {
		sum.Write(fmt.Appendln(nil, runtime.Version()))
	}
	if !r.made() {
		files, err := r.files()
		if err != nil {
			return "", err
		}
		for _, name := range files {
			text, err := recipeFiles.ReadFile(name)
			if err != nil {
				return "", fmt.Errorf("hashing the recipe of %s: %w", r.name, err)
			}
			sum.Write(fmt.Appendf(nil, "%s %d\n%s", name, len(text), text))
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// recipeVersion is raised when the code that makes an image changes what comes
// out.
const recipeVersion = 1

// files lists the recipe's files in order.
func (r recipe) files() ([]string, error) {
	var names []string
	err := fs.WalkDir(recipeFiles, path.Join("recipes", r.name), func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the recipe of %s: %w", r.name, err)
	}
	slices.Sort(names)
	return names, nil
}
