package podmanrun

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// stopGrace is how long a container has between SIGTERM and SIGKILL when its
// service does not say; ten seconds is what compose promises.
const stopGrace = 10 * time.Second

// logDriver writes files that any Podman can read back; the default may be the
// journal, which a container does not have.
const logDriver = "k8s-file"

// createRequest asks for the container of a service.
type createRequest struct {
	libpod.CreateRequest
	files []libpod.File // copied into the container before it starts
}

// checkProject reports, by the path of its key, what only shows in the merged
// project and cannot be honoured.
func checkProject(p *types.Project) map[string]error {
	found := make(map[string]error)
	for name, s := range p.Services {
		if s.Build != nil {
			if _, err := buildRequest(p, s); err != nil {
				found["services."+name] = err
				continue
			}
		}
		for replica := range max(1, s.GetScale()) {
			if _, err := containerRequest(p, s, replica+1, Owner{}); err != nil {
				found["services."+name] = fmt.Errorf("service %s: %w", name, err)
				break
			}
		}
	}
	for name, n := range p.Networks {
		if bool(n.External) {
			continue
		}
		if _, err := networkRequestOf(name, n, nil); err != nil {
			found["networks."+name] = fmt.Errorf("network %s: %w", name, err)
		}
	}
	return found
}

// containerRequest turns a service into the request that makes one of its
// containers, replica being counted from 1.
// Healthcheck, image and hash are added when the image is known.
func containerRequest(p *types.Project, s types.ServiceConfig, replica int, owner Owner) (*createRequest, error) {
	r := &createRequest{CreateRequest: libpod.CreateRequest{
		Name:             containerName(p, s, replica),
		Image:            imageName(p, s),
		Entrypoint:       s.Entrypoint,
		Command:          s.Command,
		Env:              environment(s),
		Labels:           ownedBy(owner, p.Name, s.Labels),
		Annotations:      s.Annotations,
		WorkDir:          s.WorkingDir,
		CreateWorkingDir: s.WorkingDir != "",
		User:             s.User,
		Groups:           s.GroupAdd,
		Hostname:         s.Hostname,
		Terminal:         s.Tty,
		Stdin:            s.StdinOpen,
		Init:             s.Init != nil && *s.Init,
		Privileged:       s.Privileged,
		ReadOnly:         s.ReadOnly,
		CapAdd:           s.CapAdd,
		CapDrop:          s.CapDrop,
		Sysctl:           sysctls(s),
		ShmSize:          int64(s.ShmSize),
		StopTimeout:      uint((grace(s) + time.Second - 1) / time.Second), //nolint:gosec // never negative
		HostAdd:          s.ExtraHosts.AsList(":"),
		DNSServers:       s.DNS,
		DNSSearch:        s.DNSSearch,
		DNSOptions:       s.DNSOpts,
		ResourceLimits:   limits(s),
		Rlimits:          rlimits(s),
		StorageOpts:      s.StorageOpt,
		OCIRuntime:       s.Runtime,
		CgroupParent:     s.CgroupParent,
	}}
	r.Labels[LabelService] = s.Name
	r.Labels[LabelReplica] = strconv.Itoa(replica)
	if after := slices.Sorted(maps.Keys(s.DependsOn)); len(after) > 0 {
		r.Labels[labelAfter] = strings.Join(after, ",")
	}
	if waits := completedFor(s); len(waits) > 0 {
		r.Labels[labelWaits] = strings.Join(waits, ",")
	}
	if follows := restartsWith(s); len(follows) > 0 {
		r.Labels[labelFollows] = strings.Join(follows, ",")
	}
	r.Labels[labelGrace] = strconv.Itoa(int(r.StopTimeout))
	if s.OomScoreAdj != 0 {
		adjust := int(s.OomScoreAdj)
		r.OOMScoreAdj = &adjust
	}
	if s.Umask != nil {
		r.Umask = fmt.Sprintf("%04o", *s.Umask)
	}
	setPlatform(r, s.Platform)
	slices.Sort(r.HostAdd)
	addBlockIO(r, s)
	for _, set := range []func() error{
		func() error { _, err := pullPolicy(s); return err },
		func() error { return setStopSignal(r, s) },
		func() error { return setSecurity(r, p, s) },
		func() error { return setRestart(r, s) },
		func() error { return setLogging(r, s) },
		func() error { return setHooks(r, s) },
		func() error { return addNamespaces(r, s) },
		func() error { return addNetworks(r, p, s) },
		func() error { return addPorts(r, s, replica) },
		func() error { return addVolumes(r, p, s) },
		func() error { return addDevices(r, s) },
		func() error { return r.addFiles(p, s) },
		func() error { _, err := warmWishOf(s); return err },
	} {
		if err := set(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func containerName(p *types.Project, s types.ServiceConfig, replica int) string {
	if s.ContainerName != "" {
		return s.ContainerName
	}
	return p.Name + "-" + s.Name + "-" + strconv.Itoa(replica)
}

func grace(s types.ServiceConfig) time.Duration {
	if s.StopGracePeriod == nil {
		return stopGrace
	}
	return max(0, time.Duration(*s.StopGracePeriod))
}

// environment leaves out variables that are named without a value and are not
// set where the project was read.
func environment(s types.ServiceConfig) map[string]string {
	env := make(map[string]string, len(s.Environment))
	for k, v := range s.Environment {
		if v != nil {
			env[k] = *v
		}
	}
	return env
}

// sysctls are the service's, and the one that the kernel keeps its domain in.
func sysctls(s types.ServiceConfig) map[string]string {
	if s.DomainName == "" {
		return s.Sysctls
	}
	out := maps.Clone(map[string]string(s.Sysctls))
	if out == nil {
		out = make(map[string]string)
	}
	out["kernel.domainname"] = s.DomainName
	return out
}

func setPlatform(r *createRequest, platform string) {
	parts := append(strings.Split(platform, "/"), "", "")
	r.ImageOS, r.ImageArch, r.ImageVariant = parts[0], parts[1], parts[2]
}

func setStopSignal(r *createRequest, s types.ServiceConfig) error {
	if s.StopSignal == "" {
		return nil
	}
	if n, err := strconv.Atoi(s.StopSignal); err == nil {
		r.StopSignal = n
		return nil
	}
	name := strings.ToUpper(s.StopSignal)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if r.StopSignal = int(unix.SignalNum(name)); r.StopSignal == 0 {
		return fmt.Errorf("stop_signal %q is no signal", s.StopSignal)
	}
	return nil
}

// setRestart says whether Podman starts the container again when it has ended.
func setRestart(r *createRequest, s types.ServiceConfig) error {
	policy, tries := restart(s)
	name, count, counted := strings.Cut(policy, ":")
	switch name {
	case "", "no":
		return nil
	case "always", "unless-stopped", "on-failure":
	default:
		return fmt.Errorf("restart %q is not supported, only no, always, on-failure[:times] and unless-stopped", policy)
	}
	r.RestartPolicy = name
	if counted {
		n, err := strconv.ParseUint(count, 10, 31)
		if err != nil || name != "on-failure" {
			return fmt.Errorf("restart %q: only on-failure takes a number of times", policy)
		}
		tries = uint(n)
	}
	if tries > 0 {
		r.RestartTries = &tries
	}
	return nil
}

// pullPolicy returns when the image of a service is pulled: always, missing, never or
// build. Nobody remembers when an image was last asked for, so policies that go by
// that ask each time, which is at least as fresh.
func pullPolicy(s types.ServiceConfig) (string, error) {
	policy, _, err := s.GetPullPolicy()
	if err != nil {
		return "", fmt.Errorf("pull_policy %q: %w", s.PullPolicy, err)
	}
	switch policy {
	case types.PullPolicyRefresh:
		return types.PullPolicyAlways, nil
	case types.PullPolicyIfNotPresent:
		return types.PullPolicyMissing, nil
	}
	return policy, nil
}

// restart is the policy of a service: its own, or that of its deployment.
func restart(s types.ServiceConfig) (policy string, tries uint) {
	if s.Restart != "" || s.Deploy == nil || s.Deploy.RestartPolicy == nil {
		return s.Restart, 0
	}
	p := s.Deploy.RestartPolicy
	if p.MaxAttempts != nil {
		tries = uint(*p.MaxAttempts)
	}
	switch p.Condition {
	case "none":
		return "no", 0
	case "on-failure":
		return "on-failure", tries
	}
	return "always", 0
}

// setLogging keeps logs where we read them again; of a driver's options only the
// size has a meaning there.
func setLogging(r *createRequest, s types.ServiceConfig) error {
	r.LogConfiguration.Driver = logDriver
	if s.Logging == nil {
		return nil
	}
	if s.Logging.Driver == "none" {
		r.LogConfiguration.Driver = "none"
		return nil
	}
	if text := s.Logging.Options["max-size"]; text != "" {
		size, err := units.RAMInBytes(text)
		if err != nil {
			return fmt.Errorf("logging: max-size %q is no size like 10m", text)
		}
		r.LogConfiguration.Size = size
	}
	return nil
}

// seal records in the labels what the container is made from: hash is equal for
// two requests that would make the same container.
func (r *createRequest) seal(imageID string) {
	delete(r.Labels, labelHash)
	sum := sha256.New()
	data, _ := json.Marshal(r.CreateRequest) // a struct of strings and numbers always encodes
	sum.Write(data)
	sum.Write([]byte(imageID))
	for _, f := range r.files {
		_, _ = fmt.Fprintf(sum, "\x00%s\x00%d\x00%d\x00%o\x00%d\x00", f.Path, f.UID, f.GID, f.Mode, len(f.Content)) // a hash takes everything
		sum.Write(f.Content)
	}
	r.Labels[labelHash] = hex.EncodeToString(sum.Sum(nil)[:8])
}
