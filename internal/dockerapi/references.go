package dockerapi

import (
	"context"
	"net/http"
	"strings"
)

// joined checks a namespace of another container, as in "container:web".
func (s *Server) joined(ctx context.Context, mode string) (string, error) {
	name, ok := strings.CutPrefix(mode, "container:")
	if !ok {
		return mode, nil
	}
	id, err := s.ownID(ctx, "containers", name)
	return "container:" + id, err
}

// dockerReferences checks what a container of Docker's API refers to, and makes
// the volumes that it names.
func (s *Server) dockerReferences(ctx context.Context, body object) error {
	host, err := body.object("HostConfig")
	if err != nil {
		return &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
	}
	for _, member := range []string{"NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode"} {
		mode := host.text(member)
		if mode == "" {
			continue
		}
		changed, err := s.joined(ctx, mode)
		if err != nil {
			return err
		}
		if changed != mode {
			host.set(member, changed)
		} else if member == "NetworkMode" && !isMode(mode) {
			if _, _, err := s.network(ctx, mode); err != nil {
				return err
			}
		}
	}
	networking, err := body.object("NetworkingConfig")
	if err != nil {
		return &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
	}
	endpoints, err := networking.object("EndpointsConfig")
	if err != nil {
		return &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
	}
	for name := range endpoints {
		if isMode(name) {
			continue
		}
		if _, _, err := s.network(ctx, name); err != nil {
			return err
		}
	}
	if err := s.dockerVolumes(ctx, host); err != nil {
		return err
	}
	if len(host) > 0 {
		body.set("HostConfig", host)
	}
	return nil
}

// isMode reports whether a network mode of Podman's is no network's name:
// slirp4netns:…, pasta, private, ns:/path.
func isMode(mode string) bool {
	kind, _, _ := strings.Cut(mode, ":")
	switch kind {
	case "slirp4netns", "pasta", "private", "ns", "pod", "container", "":
		return true
	}
	return false
}

// dockerVolumes checks what HostConfig mounts.
func (s *Server) dockerVolumes(ctx context.Context, host object) error {
	var from, binds []string
	for member, into := range map[string]any{"VolumesFrom": &from, "Binds": &binds} {
		if err := host.read(member, into); err != nil {
			return &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
		}
	}
	if err := s.volumesFrom(ctx, host, "VolumesFrom", from); err != nil {
		return err
	}
	for i, bind := range binds {
		if source, rest, ok := strings.Cut(bind, ":"); ok && isDaemon(source) {
			binds[i] = s.socket + ":" + rest
			host.set("Binds", binds)
		}
	}
	mounts, err := s.mounts(host, "Mounts")
	if err != nil {
		return err
	}
	for _, bind := range binds {
		if name, _, ok := strings.Cut(bind, ":"); ok && isVolumeName(name) {
			if err := s.ensureVolume(ctx, name, &volumeRequest{}); err != nil {
				return err
			}
		}
	}
	for _, m := range mounts {
		name := m.text("Source")
		if m.text("Type") != "volume" || !isVolumeName(name) {
			continue
		}
		request := &volumeRequest{}
		options, err := m.object("VolumeOptions")
		if err == nil {
			var driver object
			if driver, err = options.object("DriverConfig"); err == nil {
				request.Driver = driver.text("Name")
				err = driver.read("Options", &request.Options)
			}
		}
		if err != nil {
			return &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
		}
		if err := s.ensureVolume(ctx, name, request); err != nil {
			return err
		}
	}
	return nil
}

// isDaemon reports whether path is where a Docker daemon has its socket.
func isDaemon(path string) bool { return path == "/var/run/docker.sock" || path == "/run/docker.sock" }

// mounts reads the mounts in a member of o. One that asks for the socket of a Docker
// daemon gets the job's own: there is no daemon.
func (s *Server) mounts(o object, member string) ([]object, error) {
	mounts, err := o.objects(member)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
	}
	for _, m := range mounts {
		if m.text("Type") == "bind" && isDaemon(m.text("Source")) {
			m.set("Source", s.socket)
			o.set(member, mounts)
		}
	}
	return mounts, nil
}

// volumesFrom checks the containers whose volumes are used, as in "web:ro".
func (s *Server) volumesFrom(ctx context.Context, o object, member string, from []string) error {
	for i, entry := range from {
		name, mode, hasMode := strings.Cut(entry, ":")
		id, err := s.ownID(ctx, "containers", name)
		if err != nil {
			return err
		}
		if from[i] = id; hasMode {
			from[i] += ":" + mode
		}
	}
	if len(from) > 0 {
		o.set(member, from)
	}
	return nil
}

// isVolumeName reports whether the source of a mount is a volume, not a path.
func isVolumeName(source string) bool { return source != "" && !strings.ContainsAny(source[:1], "/.~") }

// libpodReferences checks what a container or pod of libpod's API refers to, and
// makes the volumes that it names.
func (s *Server) libpodReferences(ctx context.Context, body object) error {
	for _, member := range []string{"secrets", "secret_env"} {
		if value := string(body.raw(member)); value != "" && value != "[]" && value != "{}" {
			return &refusal{http.StatusForbidden, member + " are the operator's, which jobs are not offered"}
		}
	}
	var from []string
	var networks map[string]any
	for member, into := range map[string]any{"volumes_from": &from, "Networks": &networks} {
		if err := body.read(member, into); err != nil {
			return &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
		}
	}
	for _, member := range []string{"netns", "pidns", "ipcns", "utsns", "userns", "cgroupns"} {
		space, err := body.object(member)
		if err != nil {
			return &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
		}
		kind := map[string]string{"container": "containers", "pod": "pods"}[space.text("nsmode")]
		if kind == "" || space.text("value") == "" {
			continue
		}
		id, err := s.ownID(ctx, kind, space.text("value"))
		if err != nil {
			return err
		}
		space.set("value", id)
		body.set(member, space)
	}
	if pod := body.text("pod"); pod != "" {
		id, err := s.ownID(ctx, "pods", pod)
		if err != nil {
			return err
		}
		body.set("pod", id)
	}
	for name := range networks {
		if _, _, err := s.network(ctx, name); err != nil {
			return err
		}
	}
	if err := s.volumesFrom(ctx, body, "volumes_from", from); err != nil {
		return err
	}
	mounts, err := s.mounts(body, "mounts")
	if err != nil {
		return err
	}
	volumes, err := body.objects("volumes")
	if err != nil {
		return &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
	}
	var names []string
	for _, m := range mounts {
		if m.text("Type") == "volume" && isVolumeName(m.text("Source")) {
			names = append(names, m.text("Source"))
		}
	}
	for _, v := range volumes {
		var anonymous bool
		if err := v.read("IsAnonymous", &anonymous); err != nil {
			return &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
		}
		if name := v.text("Name"); name != "" && !anonymous {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if err := s.ensureVolume(ctx, name, &volumeRequest{}); err != nil {
			return err
		}
	}
	return nil
}
