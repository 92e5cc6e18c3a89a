package imagebuild

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/session/upload/uploadprovider"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Capabilities that a frontend must have, or say that it has not.
const (
	capContexts = "moby.buildkit.frontend.contexts+forward"
	capGitQuery = "moby.buildkit.frontend.gitquerystring"
)

// IsRemote reports whether place is one that BuildKit fetches itself: the URL of
// a Git repository, also in the forms git@host:path and github.com/…, or of a tar
// archive. A directory of that name comes first.
func IsRemote(place string) bool {
	if isURL(place) {
		return true
	}
	if info, err := os.Stat(place); err == nil && info.IsDir() {
		return false
	}
	_, git, _ := dfgitutil.ParseGitRef(place)
	return git
}

// LocalContext returns the directory on this machine that a named context is read
// from, in whatever form it is written; local is false for one that BuildKit fetches.
func LocalContext(place string) (dir string, local bool) {
	if layout, ok := strings.CutPrefix(place, ociPrefix); ok {
		if dir, _, _, err := cutLayout(layout); err == nil {
			return dir, true
		}
		return layout, true // a build of it fails
	}
	return place, !strings.HasPrefix(place, imagePrefix) && !IsRemote(place)
}

// IsGitSSH reports whether place is a Git repository that is reached with ssh.
func IsGitSSH(place string) bool {
	if !IsRemote(place) {
		return false
	}
	ref, git, err := dfgitutil.ParseGitRef(place)
	return git && err == nil && !strings.Contains(ref.Remote, "://") && strings.Contains(ref.Remote, "@") ||
		git && err == nil && strings.HasPrefix(ref.Remote, "ssh://")
}

func isURL(place string) bool {
	return strings.HasPrefix(place, "http://") || strings.HasPrefix(place, "https://")
}

// checkURL reports what is wrong with the URL of the context.
func (r *Request) checkURL() error {
	if _, git, err := dfgitutil.ParseGitRef(r.Context); git && err != nil {
		return hint.With(fmt.Errorf("the build context is no Git repository: %w", err), "write URL#ref:directory, or URL?ref=…&subdir=…")
	}
	if !filepath.IsAbs(r.Dockerfile) {
		return nil
	}
	if _, err := os.Stat(r.Dockerfile); err != nil {
		return hint.With(fmt.Errorf("reading the Dockerfile: there is no %s", r.Dockerfile), "name a Dockerfile inside the context with a relative path")
	}
	return nil
}

// gitQuery notes when a URL has settings in its query, which old frontends
// would take for a part of its name.
func gitQuery(caps map[string]bool, url, capability string) {
	if _, git, err := dfgitutil.ParseGitRef(url); git && err == nil && strings.Contains(url, "?") {
		caps[capability] = true
	}
}

// addContext gives the solve its context.
func (s *solver) addContext(opt *client.SolveOpt, caps map[string]bool) (err error) {
	switch {
	case s.r.ContextArchive != nil:
		upload := uploadprovider.New()
		all := io.NewSectionReader(s.r.ContextArchive, 0, s.r.ContextArchive.Size()) // each solve reads it anew
		opt.FrontendAttrs["context"] = upload.Add(io.NopCloser(all))
		opt.Session = append(opt.Session, upload)
	case s.r.remote():
		opt.FrontendAttrs["context"] = s.r.Context
		gitQuery(caps, s.r.Context, capGitQuery)
	case s.r.noContext():
		opt.LocalMounts[localContext] = &memoryFS{}
	default:
		opt.LocalMounts[localContext], err = s.localFS(s.r.Context)
	}
	return err
}

// addDockerfile gives the solve its Dockerfile.
func (s *solver) addDockerfile(opt *client.SolveOpt) (err error) {
	switch file := s.r.Dockerfile; {
	case s.r.DockerfileText != nil:
		opt.FrontendAttrs["filename"] = "Dockerfile"
		opt.FrontendAttrs["dockerfilekey"] = localDockerfile
		opt.LocalMounts[localDockerfile], err = s.textFS()
	case isURL(file):
		opt.FrontendAttrs["filename"] = "Dockerfile"
		opt.FrontendInputs = map[string]llb.State{
			localDockerfile: llb.HTTP(file, llb.Filename("Dockerfile"), llb.WithCustomName("[internal] load "+file)),
		}
	case s.r.remote() && filepath.IsAbs(file):
		opt.FrontendAttrs["dockerfilekey"] = localDockerfile
		err = s.addFile(opt, file)
	case s.r.remote():
		if file != "" {
			opt.FrontendAttrs["filename"] = file
		}
	default:
		err = s.addFile(opt, s.r.dockerfile())
	}
	return err
}

// addNamed gives the solve a named context; i tells it from the others.
func (s *solver) addNamed(opt *client.SolveOpt, caps map[string]bool, name, place string, i int) error {
	caps[capContexts] = true
	key := "context:" + name
	if path, ok := strings.CutPrefix(place, ociPrefix); ok {
		layout, descriptor, err := openLayout(path, s.r.Open)
		if err != nil {
			return err
		}
		if opt.OCIStores == nil {
			opt.OCIStores = make(map[string]content.Store)
		}
		store := "layout" + strconv.Itoa(i)
		opt.OCIStores[store] = layout
		opt.FrontendAttrs[key] = ociPrefix + store + "@" + descriptor.String()
		return nil
	}
	if _, local := LocalContext(place); !local {
		opt.FrontendAttrs[key] = place
		gitQuery(caps, place, capGitQuery+"+forward")
		return nil
	}
	if info, err := os.Stat(place); err != nil || !info.IsDir() {
		if err == nil {
			err = errors.New(place + " is no directory")
		}
		return hint.With(err, "write --build-context NAME=DIRECTORY, a URL, docker-image://IMAGE or oci-layout://DIRECTORY:TAG")
	}
	fs, err := s.localFS(place)
	if err != nil {
		return err
	}
	mount := "context-" + strconv.Itoa(i) // a name of ours cannot be that of the main context
	opt.LocalMounts[mount] = fs
	opt.FrontendAttrs[key] = "local:" + mount
	opt.FrontendAttrs["sharedkey:localdir:"+name] = s.sharedKey() + ":" + filepath.Base(place)
	return nil
}
