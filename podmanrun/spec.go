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
	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// stopGrace is how long a container has between SIGTERM and SIGKILL when its
// service does not say; ten seconds is what compose promises.
const stopGrace = 10 * time.Second

// logDriver writes files that any Podman can read back; the default may be the
// journal, which a container does not have.
const logDriver = "k8s-file"

// cpuPeriod is the kernel's usual CFS period in microseconds.
const cpuPeriod = 100_000

// createRequest asks for the container of a service.
type createRequest libpod.CreateRequest

// checkService reports what only shows in the merged service and cannot be honoured.
func checkService(s types.ServiceConfig) error {
	switch s.NetworkMode {
	case "", "bridge", "host", "none":
	default:
		return fmt.Errorf("service %s: network_mode %q is not supported, only bridge, host and none", s.Name, s.NetworkMode)
	}
	for _, v := range s.Volumes {
		if !slices.Contains([]string{types.VolumeTypeBind, types.VolumeTypeVolume, types.VolumeTypeTmpfs}, v.Type) {
			return fmt.Errorf("service %s: a volume of type %q is not supported", s.Name, v.Type)
		}
	}
	if _, err := containerRequest(&types.Project{Name: "check"}, s, 1, Owner{}); err != nil {
		return fmt.Errorf("service %s: %w", s.Name, err)
	}
	return nil
}

// containerRequest turns a service into the request that makes one of its
// containers, replica being counted from 1.
// Healthcheck, image and hash are added when the image is known.
func containerRequest(p *types.Project, s types.ServiceConfig, replica int, owner Owner) (*createRequest, error) {
	r := &createRequest{
		Name:             containerName(p, s, replica),
		Image:            imageName(p, s),
		Entrypoint:       s.Entrypoint,
		Command:          s.Command,
		Env:              environment(s),
		Labels:           ownedBy(owner, p.Name, s.Labels),
		WorkDir:          s.WorkingDir,
		User:             s.User,
		Hostname:         s.Hostname,
		Terminal:         s.Tty,
		Stdin:            s.StdinOpen,
		Init:             s.Init != nil && *s.Init,
		Privileged:       s.Privileged,
		ReadOnly:         s.ReadOnly,
		CapAdd:           s.CapAdd,
		CapDrop:          s.CapDrop,
		Sysctl:           s.Sysctls,
		ShmSize:          int64(s.ShmSize),
		StopTimeout:      uint(grace(s) / time.Second), //nolint:gosec // never negative
		HostAdd:          s.ExtraHosts.AsList(":"),
		ResourceLimits:   limits(s),
		Rlimits:          rlimits(s),
		LogConfiguration: libpod.LogConfiguration{Driver: logDriver},
	}
	r.Labels[LabelService] = s.Name
	r.Labels[LabelReplica] = strconv.Itoa(replica)
	r.Labels[labelGrace] = strconv.Itoa(int(r.StopTimeout))
	setPlatform(r, s.Platform)
	addNetworks(r, p, s)
	addVolumes(r, p, s)
	slices.Sort(r.HostAdd)
	for _, set := range []func(*createRequest, types.ServiceConfig) error{setStopSignal, setSecurity, addPorts} {
		if err := set(r, s); err != nil {
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

func setSecurity(r *createRequest, s types.ServiceConfig) error {
	for _, opt := range s.SecurityOpt {
		key, value, _ := strings.Cut(strings.Replace(opt, ":", "=", 1), "=")
		switch key {
		case "no-new-privileges":
			r.NoNewPrivileges = value != "false"
		case "label":
			r.SelinuxOpts = append(r.SelinuxOpts, value)
		case "apparmor":
			r.ApparmorProfile = value
		case "seccomp":
			r.SeccompProfile = value
		default:
			return fmt.Errorf("security_opt %q is not supported", opt)
		}
	}
	return nil
}

func limits(s types.ServiceConfig) *libpod.Resources {
	memory, cpus, pids := int64(s.MemLimit), float64(s.CPUS), s.PidsLimit
	if s.Deploy != nil && s.Deploy.Resources.Limits != nil {
		l := s.Deploy.Resources.Limits
		if memory == 0 {
			memory = int64(l.MemoryBytes)
		}
		if cpus == 0 {
			cpus = float64(l.NanoCPUs)
		}
		if pids == 0 {
			pids = l.Pids
		}
	}
	if memory == 0 && cpus == 0 && pids == 0 {
		return nil
	}
	r := &libpod.Resources{}
	if memory != 0 {
		r.Memory = &libpod.MemoryLimit{Limit: memory}
	}
	if cpus != 0 {
		r.CPU = &libpod.CPULimit{Quota: int64(cpus * cpuPeriod), Period: cpuPeriod}
	}
	if pids != 0 {
		r.Pids = &libpod.PidsLimit{Limit: pids}
	}
	return r
}

func rlimits(s types.ServiceConfig) []libpod.Rlimit {
	var list []libpod.Rlimit
	for _, name := range slices.Sorted(maps.Keys(s.Ulimits)) {
		u := s.Ulimits[name]
		soft, hard := u.Soft, u.Hard
		if u.Single != 0 {
			soft, hard = u.Single, u.Single
		}
		list = append(list, libpod.Rlimit{Type: name, Soft: rlimitValue(soft), Hard: rlimitValue(hard)})
	}
	return list
}

// rlimitValue maps -1 to "no limit".
func rlimitValue(v int) uint64 {
	if v < 0 {
		return unix.RLIM_INFINITY
	}
	return uint64(v)
}

// addNetworks connects the service to its networks under its own name and its aliases.
func addNetworks(r *createRequest, p *types.Project, s types.ServiceConfig) {
	if s.NetworkMode == "host" || s.NetworkMode == "none" {
		r.NetNS = &libpod.Namespace{Mode: s.NetworkMode}
		return
	}
	r.NetNS = &libpod.Namespace{Mode: "bridge"}
	r.Networks = make(map[string]libpod.NetworkAttachment, len(s.Networks))
	for key, network := range s.Networks {
		var aliases []string
		if network == nil || network.ServiceNameAliasEnabled() {
			aliases = append(aliases, s.Name)
		}
		if network != nil {
			aliases = append(aliases, network.Aliases...)
		}
		if s.ContainerName != "" {
			aliases = append(aliases, s.ContainerName)
		}
		slices.Sort(aliases)
		r.Networks[networkName(p, key)] = libpod.NetworkAttachment{Aliases: slices.Compact(aliases)}
	}
}

func networkName(p *types.Project, key string) string {
	if n := p.Networks[key]; n.Name != "" {
		return n.Name
	}
	return p.Name + "_" + key
}

func volumeName(p *types.Project, key string) string {
	if v := p.Volumes[key]; v.Name != "" {
		return v.Name
	}
	return p.Name + "_" + key
}

func addPorts(r *createRequest, s types.ServiceConfig) error {
	for _, port := range s.Ports {
		m := libpod.PortMapping{HostIP: port.HostIP, ContainerPort: uint16(port.Target), Protocol: port.Protocol} //nolint:gosec // compose-go has checked the range
		if port.Published != "" && port.Published != "0" {
			n, err := strconv.ParseUint(port.Published, 10, 16)
			if err != nil {
				return fmt.Errorf("port %q: a range of host ports is not supported, leave the host port out to have a free one chosen", port.Published)
			}
			m.HostPort = uint16(n)
		}
		r.PortMappings = append(r.PortMappings, m)
	}
	return nil
}

func addVolumes(r *createRequest, p *types.Project, s types.ServiceConfig) {
	for _, v := range s.Volumes {
		var options []string
		if v.ReadOnly {
			options = append(options, "ro")
		}
		switch v.Type {
		case types.VolumeTypeVolume:
			if v.Volume != nil && v.Volume.NoCopy {
				options = append(options, "nocopy")
			}
			name := ""
			if v.Source != "" {
				name = volumeName(p, v.Source)
			}
			r.Volumes = append(r.Volumes, libpod.NamedVolume{Name: name, Dest: v.Target, Options: options})
		case types.VolumeTypeBind:
			options = append(options, "rbind")
			if v.Bind != nil {
				for _, o := range []string{v.Bind.Propagation, v.Bind.SELinux} {
					if o != "" {
						options = append(options, o)
					}
				}
			}
			r.Mounts = append(r.Mounts, libpod.Mount{Type: v.Type, Source: v.Source, Destination: v.Target, Options: options})
		case types.VolumeTypeTmpfs:
			if v.Tmpfs != nil && v.Tmpfs.Size > 0 {
				options = append(options, "size="+strconv.FormatInt(int64(v.Tmpfs.Size), 10))
			}
			if v.Tmpfs != nil && v.Tmpfs.Mode > 0 {
				options = append(options, fmt.Sprintf("mode=%o", v.Tmpfs.Mode))
			}
			r.Mounts = append(r.Mounts, tmpfs(v.Target, options))
		}
	}
	for _, t := range s.Tmpfs {
		target, opts, _ := strings.Cut(t, ":")
		var options []string
		if opts != "" {
			options = strings.Split(opts, ",")
		}
		r.Mounts = append(r.Mounts, tmpfs(target, options))
	}
}

func tmpfs(target string, options []string) libpod.Mount {
	return libpod.Mount{Type: "tmpfs", Source: "tmpfs", Destination: target, Options: options}
}

// seal records in the labels what the container is made from: hash is equal for
// two requests that would make the same container.
func (r *createRequest) seal(imageID string) {
	delete(r.Labels, labelHash)
	data, _ := json.Marshal(r) // a struct of strings and numbers always encodes
	sum := sha256.Sum256(append(data, imageID...))
	r.Labels[labelHash] = hex.EncodeToString(sum[:8])
}
