package podmanrun

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/internal/hint"
)

// setSecurity says what the container may do, and what it sees of the system.
func setSecurity(r *createRequest, p *types.Project, s types.ServiceConfig) (err error) {
	for _, opt := range s.SecurityOpt {
		key, value := opt, ""
		if i := strings.IndexAny(opt, "=:"); i >= 0 {
			key, value = opt[:i], opt[i+1:]
		}
		switch key {
		case "no-new-privileges":
			r.NoNewPrivileges = value != "false"
		case "label":
			r.SelinuxOpts = append(r.SelinuxOpts, value)
		case "apparmor":
			r.ApparmorProfile = value
		case "seccomp":
			if r.SeccompProfile, err = seccompProfile(p, value); err != nil {
				return fmt.Errorf("security_opt %q: %w", opt, err)
			}
		case "mask":
			r.Mask = append(r.Mask, strings.Split(value, ":")...)
		case "unmask":
			r.Unmask = append(r.Unmask, strings.Split(value, ":")...)
		case "systempaths":
			if value != "unconfined" {
				return fmt.Errorf("security_opt %q is not supported", opt)
			}
			r.Unmask = append(r.Unmask, "ALL")
		default:
			return fmt.Errorf("security_opt %q is not supported", opt)
		}
	}
	return nil
}

// seccompProfile is where Podman finds the filter of system calls, which it reads by
// itself: in a file, whose path starts at the project's directory.
func seccompProfile(p *types.Project, value string) (string, error) {
	switch {
	case value == "unconfined":
		return value, nil
	case value == "":
		return "", errors.New("it names no file")
	case p.WorkingDir == "" && !filepath.IsAbs(value):
		return "", errors.New("the path of the profile has to be absolute")
	case p.WorkingDir == "":
		return value, nil // no compose file, so it need not be on this machine
	}
	file := p.RelativePath(value)
	content, err := readSmall(file)
	if err != nil {
		return "", err
	}
	if !json.Valid(content) {
		return "", fmt.Errorf("%s is no JSON, which profiles are written in", file)
	}
	return file, nil
}

// profileThere refuses a profile that Podman on another machine would look for there.
func (n *unit) profileThere() error {
	if file := n.request.SeccompProfile; file == "" || file == "unconfined" || n.up.client.local() {
		return nil
	}
	err := errors.New("the file of a seccomp profile has to be on the machine that Podman runs on, which this one is not")
	return n.up.at("services."+n.name+".security_opt", hint.With(err, "set default profiles in that Podman's containers.conf, with seccomp_profile"))
}
