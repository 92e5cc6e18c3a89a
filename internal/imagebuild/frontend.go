package imagebuild

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/solver/errdefs"

	"github.com/dockless-ci/dockless/internal/hint"
)

// adviseFrontend adds hints to out, our form of the failure err of a solve, where
// the way leads over a flag or the line # syntax=: a frontend that cannot be had
// or lacks something, an entitlement that nobody gave, a repository that wants a
// login.
func adviseFrontend(out, err error) error {
	if request, ok := errors.AsType[*errdefs.UnsupportedSubrequestError](err); ok {
		return hint.With(out, "the frontend of this Dockerfile does not answer %s; use a newer one in its line # syntax=", strings.TrimPrefix(request.Name, "frontend."))
	}
	if lacks, ok := errors.AsType[*errdefs.UnsupportedFrontendCapError](err); ok {
		return hint.With(out, "the frontend of this Dockerfile has no %s; use a newer one in its line # syntax=", lacks.Name)
	}
	text := err.Error()
	for _, f := range errdefs.Frontends(err) {
		if f.Source != "" && strings.Contains(text, "failed to resolve source metadata for") && strings.Contains(text, f.Source) {
			return hint.With(fmt.Errorf("fetching the frontend %s: %w", f.Source, out),
				"let the node reach the registry of %s, keep a copy of it in a mirror, or remove the line # syntax= to build with BuildKit's own frontend", f.Source)
		}
	}
	for _, name := range []string{"network.host", "security.insecure", "device"} {
		if strings.Contains(text, name+" is not allowed") {
			return hint.With(out, "the Dockerfile wants more than the ordinary: allow it with --allow %s, and for buildkitd with insecure-entitlements", name)
		}
	}
	return adviseGit(out, text)
}

// adviseGit says what git had to say, which the first line of BuildKit's text
// only announces.
func adviseGit(out error, text string) error {
	_, said, ok := strings.Cut(text, "git stderr:\n")
	if !ok {
		return out
	}
	out = fmt.Errorf("%w %s", out, firstLine(strings.TrimPrefix(strings.TrimSpace(said), "fatal: ")))
	switch {
	case strings.Contains(said, "could not read Username"), strings.Contains(said, "Authentication failed"):
		return hint.With(out, "give BuildKit a token for the repository with --secret id=GIT_AUTH_TOKEN,env=VARIABLE")
	case strings.Contains(said, "Permission denied (publickey"):
		return hint.With(out, "give BuildKit a key for the repository with --ssh default or --ssh default=KEYFILE")
	}
	return out
}
