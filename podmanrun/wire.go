package podmanrun

import "time"

// These are the parts of libpod's requests and answers that this package uses.
// The field names are Podman's.

type createRequest struct {
	Name             string                       `json:"name"`
	Image            string                       `json:"image"`
	RawImageName     string                       `json:"raw_image_name,omitempty"`
	ImageOS          string                       `json:"image_os,omitempty"`
	ImageArch        string                       `json:"image_arch,omitempty"`
	ImageVariant     string                       `json:"image_variant,omitempty"`
	Entrypoint       []string                     `json:"entrypoint,omitzero"` // empty but not nil clears the image's
	Command          []string                     `json:"command,omitempty"`
	Env              map[string]string            `json:"env,omitempty"`
	Labels           map[string]string            `json:"labels,omitempty"`
	WorkDir          string                       `json:"work_dir,omitempty"`
	User             string                       `json:"user,omitempty"`
	Hostname         string                       `json:"hostname,omitempty"`
	Terminal         bool                         `json:"terminal,omitempty"`
	Stdin            bool                         `json:"stdin,omitempty"`
	Init             bool                         `json:"init,omitempty"`
	Privileged       bool                         `json:"privileged,omitempty"`
	ReadOnly         bool                         `json:"read_only_filesystem,omitempty"`
	NoNewPrivileges  bool                         `json:"no_new_privileges,omitempty"`
	SelinuxOpts      []string                     `json:"selinux_opts,omitempty"`
	ApparmorProfile  string                       `json:"apparmor_profile,omitempty"`
	SeccompProfile   string                       `json:"seccomp_profile_path,omitempty"`
	CapAdd           []string                     `json:"cap_add,omitempty"`
	CapDrop          []string                     `json:"cap_drop,omitempty"`
	Sysctl           map[string]string            `json:"sysctl,omitempty"`
	ShmSize          int64                        `json:"shm_size,omitempty"`
	StopSignal       int                          `json:"stop_signal,omitempty"`
	StopTimeout      uint                         `json:"stop_timeout"`
	HostAdd          []string                     `json:"hostadd,omitempty"`
	NetNS            *namespace                   `json:"netns,omitempty"`
	Networks         map[string]networkAttachment `json:"Networks,omitempty"`
	PortMappings     []portMapping                `json:"portmappings,omitempty"`
	Expose           map[uint16]string            `json:"expose,omitempty"`
	Mounts           []mount                      `json:"mounts,omitempty"`
	Volumes          []namedVolume                `json:"volumes,omitempty"`
	Rlimits          []rlimit                     `json:"r_limits,omitempty"`
	ResourceLimits   *resources                   `json:"resource_limits,omitempty"`
	LogConfiguration logConfiguration             `json:"log_configuration"`
	HealthConfig     *healthConfig                `json:"healthconfig,omitempty"`
}

type namespace struct {
	Mode string `json:"nsmode"`
}

type networkAttachment struct {
	Aliases []string `json:"aliases,omitempty"`
}

type portMapping struct {
	HostIP        string `json:"host_ip,omitempty"`
	HostPort      uint16 `json:"host_port,omitempty"` // zero lets Podman choose
	ContainerPort uint16 `json:"container_port"`
	Range         uint16 `json:"range,omitempty"`
	Protocol      string `json:"protocol,omitempty"`
}

type mount struct {
	Type        string   `json:"type"`
	Source      string   `json:"source,omitempty"`
	Destination string   `json:"destination"`
	Options     []string `json:"options,omitempty"`
}

type namedVolume struct {
	Name    string   `json:"Name"` // empty makes an anonymous volume
	Dest    string   `json:"Dest"`
	Options []string `json:"Options,omitempty"`
}

type rlimit struct {
	Type string `json:"type"` // without RLIMIT_
	Hard uint64 `json:"hard"`
	Soft uint64 `json:"soft"`
}

type resources struct {
	Memory *memoryLimit `json:"memory,omitempty"`
	CPU    *cpuLimit    `json:"cpu,omitempty"`
	Pids   *pidsLimit   `json:"pids,omitempty"`
}

type memoryLimit struct {
	Limit int64 `json:"limit"` // bytes
}

type cpuLimit struct {
	Quota  int64  `json:"quota"`  // microseconds per period
	Period uint64 `json:"period"` // microseconds
}

type pidsLimit struct {
	Limit int64 `json:"limit"`
}

type logConfiguration struct {
	Driver string `json:"driver"`
}

// healthConfig is a healthcheck as images and containers store it; durations
// are nanoseconds.
type healthConfig struct {
	Test          []string      `json:"Test,omitempty"`
	Interval      time.Duration `json:"Interval,omitempty"`
	Timeout       time.Duration `json:"Timeout,omitempty"`
	StartPeriod   time.Duration `json:"StartPeriod,omitempty"`
	StartInterval time.Duration `json:"StartInterval,omitempty"`
	Retries       int           `json:"Retries,omitempty"`
}

type imageAnswer struct {
	ID          string        `json:"Id"`
	Healthcheck *healthConfig `json:"Healthcheck"`
}

type containerAnswer struct {
	ID        string `json:"Id"`
	Name      string `json:"Name"`
	Image     string `json:"Image"` // ID
	ImageName string `json:"ImageName"`
	State     struct {
		Status    string       `json:"Status"`
		Running   bool         `json:"Running"`
		OOMKilled bool         `json:"OOMKilled"`
		ExitCode  int          `json:"ExitCode"`
		StartedAt time.Time    `json:"StartedAt"`
		Error     string       `json:"Error"`
		Health    healthAnswer `json:"Health"`
	} `json:"State"`
	Config struct {
		Labels      map[string]string `json:"Labels"`
		Tty         bool              `json:"Tty"`
		Healthcheck *healthConfig     `json:"Healthcheck"`
	} `json:"Config"`
	NetworkSettings struct {
		Ports map[string][]struct {
			HostIP   string `json:"HostIp"`
			HostPort string `json:"HostPort"`
		} `json:"Ports"`
	} `json:"NetworkSettings"`
}

type healthAnswer struct {
	Status string `json:"Status"`
	Log    []struct {
		ExitCode int    `json:"ExitCode"`
		Output   string `json:"Output"`
	} `json:"Log"`
}

type listedContainer struct {
	ID     string            `json:"Id"`
	Names  []string          `json:"Names"`
	State  string            `json:"State"`
	Labels map[string]string `json:"Labels"`
}

type networkRequest struct {
	Name       string            `json:"name"`
	Driver     string            `json:"driver"`
	Internal   bool              `json:"internal,omitempty"`
	DNSEnabled bool              `json:"dns_enabled"`
	Labels     map[string]string `json:"labels,omitempty"`
}

type networkAnswer struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
}

type volumeRequest struct {
	Name   string            `json:"Name"`
	Labels map[string]string `json:"Labels,omitempty"`
	// Label is what Podman before 4.4 reads when it is asked for labels.
	Label map[string]string `json:"Label,omitempty"`
}

type volumeAnswer struct {
	Name   string            `json:"Name"`
	Labels map[string]string `json:"Labels"`
}

type podAnswer struct {
	ID     string            `json:"Id"`
	Name   string            `json:"Name"`
	Labels map[string]string `json:"Labels"`
}
