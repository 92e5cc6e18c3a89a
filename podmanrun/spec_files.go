package podmanrun

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// secretsDir is where a container finds secrets whose target is no absolute path.
const secretsDir = "/run/secrets"

// maxFile bounds a config or secret: they travel in one request each, and what is
// larger is data and belongs into a volume.
const maxFile = 8 << 20

// addFiles gives the container its configs and secrets. Those that are files of
// this machine, or texts, are copied into it before it starts: nothing has to be
// mounted, the service may be on another machine, and owner and mode are what the
// compose file says. External ones are secrets that Podman keeps.
func (r *createRequest) addFiles(p *types.Project, s types.ServiceConfig) error {
	for _, c := range s.Configs {
		target := c.Target
		if target == "" {
			target = "/" + c.Source
		}
		if err := r.addFile("config", types.FileObjectConfig(p.Configs[c.Source]), types.FileReferenceConfig(c), target); err != nil {
			return err
		}
	}
	for _, c := range s.Secrets {
		target := c.Target
		switch {
		case target == "":
			target = path.Join(secretsDir, c.Source)
		case !path.IsAbs(target):
			target = path.Join(secretsDir, target)
		}
		if err := r.addFile("secret", types.FileObjectConfig(p.Secrets[c.Source]), types.FileReferenceConfig(c), target); err != nil {
			return err
		}
	}
	return nil
}

func (r *createRequest) addFile(what string, from types.FileObjectConfig, ref types.FileReferenceConfig, target string) error {
	fail := func(err error) error { return fmt.Errorf("%s %s: %w", what, ref.Source, err) }
	uid, gid, err := owner(ref)
	if err != nil {
		return fail(err)
	}
	mode := os.FileMode(0o444) // what compose promises when the file does not say
	if ref.Mode != nil {
		mode = os.FileMode(*ref.Mode) //nolint:gosec // a mode of nine bits
	}
	if bool(from.External) {
		name := from.Name
		if name == "" {
			name = ref.Source
		}
		r.Secrets = append(r.Secrets, libpod.Secret{Source: name, Target: target, UID: uint32(uid), GID: uint32(gid), Mode: uint32(mode)}) //nolint:gosec // checked by owner
		return nil
	}
	content := []byte(from.Content)
	switch {
	case from.File != "":
		if content, err = readSmall(from.File); err != nil {
			return fail(err)
		}
	case from.Environment != "" && from.Content == "":
		// compose-go has put the variable's value into Content unless it is not set.
		return fail(hint.With(fmt.Errorf("the variable %s is not set", from.Environment), "set %s where the stack is started", from.Environment))
	}
	r.files = append(r.files, libpod.File{Path: target, Content: content, Mode: mode, UID: uid, GID: gid})
	return nil
}

// owner reads uid and gid, which compose keeps as texts.
func owner(ref types.FileReferenceConfig) (uid, gid int, err error) {
	for _, id := range []struct {
		to   *int
		name string
		text string
	}{{&uid, "uid", ref.UID}, {&gid, "gid", ref.GID}} {
		if id.text == "" {
			continue
		}
		n, err := strconv.ParseUint(id.text, 10, 31)
		if err != nil {
			return 0, 0, fmt.Errorf("%s %q is no number", id.name, id.text)
		}
		*id.to = int(n)
	}
	return uid, gid, nil
}

func readSmall(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", file)
	}
	if info.Size() > maxFile {
		return nil, hint.With(errors.New(file+" is too large"), "mount it with volumes; a config or secret has at most %d MiB", maxFile>>20)
	}
	return os.ReadFile(file)
}
