package libpod

import (
	"cmp"
	"strings"
	"time"
)

// These are the parts of libpod's requests and answers that this module uses.
// The field names are Podman's.

// CreateRequest asks for a container.
type CreateRequest struct {
	Name             string            `json:"name"`
	Image            string            `json:"image"`
	RawImageName     string            `json:"raw_image_name,omitempty"`
	ImageOS          string            `json:"image_os,omitempty"`
	ImageArch        string            `json:"image_arch,omitempty"`
	ImageVariant     string            `json:"image_variant,omitempty"`
	Entrypoint       []string          `json:"entrypoint,omitzero"` // empty but not nil clears the image's
	Command          []string          `json:"command,omitempty"`
	Env              map[string]string `json:"env,omitempty"`
	Labels           map[string]string `json:"labels,omitempty"`
	Annotations      map[string]string `json:"annotations,omitempty"`
	Groups           []string          `json:"groups,omitempty"`
	WorkDir          string            `json:"work_dir,omitempty"`
	CreateWorkingDir bool              `json:"create_working_dir,omitempty"` // when the image lacks it
	User             string            `json:"user,omitempty"`
	Hostname         string            `json:"hostname,omitempty"`
	Terminal         bool              `json:"terminal,omitempty"`
	Stdin            bool              `json:"stdin,omitempty"`
	Init             bool              `json:"init,omitempty"`
	Remove           bool              `json:"remove,omitempty"` // when it has ended
	Privileged       bool              `json:"privileged,omitempty"`
	ReadOnly         bool              `json:"read_only_filesystem,omitempty"`
	NoNewPrivileges  bool              `json:"no_new_privileges,omitempty"`
	SelinuxOpts      []string          `json:"selinux_opts,omitempty"`
	ApparmorProfile  string            `json:"apparmor_profile,omitempty"`
	SeccompProfile   string            `json:"seccomp_profile_path,omitempty"`
	CapAdd           []string          `json:"cap_add,omitempty"`
	CapDrop          []string          `json:"cap_drop,omitempty"`
	Sysctl           map[string]string `json:"sysctl,omitempty"`
	ShmSize          int64             `json:"shm_size,omitempty"`
	StopSignal       int               `json:"stop_signal,omitempty"`
	StopTimeout      uint              `json:"stop_timeout"`
	HostAdd          []string          `json:"hostadd,omitempty"`
	NetNS            *Namespace        `json:"netns,omitempty"`
	PidNS            *Namespace        `json:"pidns,omitempty"`
	IpcNS            *Namespace        `json:"ipcns,omitempty"`
	UtsNS            *Namespace        `json:"utsns,omitempty"`
	UserNS           *Namespace        `json:"userns,omitempty"`
	CgroupNS         *Namespace        `json:"cgroupns,omitempty"`
	CgroupParent     string            `json:"cgroup_parent,omitempty"`
	OCIRuntime       string            `json:"oci_runtime,omitempty"`
	DNSServers       []string          `json:"dns_server,omitempty"`
	DNSSearch        []string          `json:"dns_search,omitempty"`
	DNSOptions       []string          `json:"dns_option,omitempty"`
	Umask            string            `json:"umask,omitempty"`
	Mask             []string          `json:"mask,omitempty"`
	Unmask           []string          `json:"unmask,omitempty"`
	RestartPolicy    string            `json:"restart_policy,omitempty"`
	RestartTries     *uint             `json:"restart_tries,omitempty"`
	StorageOpts      map[string]string `json:"storage_opts,omitempty"`
	Secrets          []Secret          `json:"secrets,omitempty"`
	Devices          []Device          `json:"devices,omitempty"`
	DeviceCgroupRule []DeviceRule      `json:"device_cgroup_rule,omitempty"`
	OOMScoreAdj      *int              `json:"oom_score_adj,omitempty"`

	WeightDevice      map[string]Weight   `json:"weightDevice,omitempty"` // by path
	ThrottleReadBps   map[string]Throttle `json:"throttleReadBpsDevice,omitempty"`
	ThrottleWriteBps  map[string]Throttle `json:"throttleWriteBpsDevice,omitempty"`
	ThrottleReadIOPS  map[string]Throttle `json:"throttleReadIOPSDevice,omitempty"`
	ThrottleWriteIOPS map[string]Throttle `json:"throttleWriteIOPSDevice,omitempty"`

	Networks         map[string]NetworkAttachment `json:"Networks,omitempty"`
	PortMappings     []PortMapping                `json:"portmappings,omitempty"`
	Expose           map[uint16]string            `json:"expose,omitempty"`
	Mounts           []Mount                      `json:"mounts,omitempty"`
	Volumes          []NamedVolume                `json:"volumes,omitempty"`
	ImageVolumes     []ImageVolume                `json:"image_volumes,omitempty"`
	VolumesFrom      []string                     `json:"volumes_from,omitempty"`
	Rlimits          []Rlimit                     `json:"r_limits,omitempty"`
	ResourceLimits   *Resources                   `json:"resource_limits,omitempty"`
	LogConfiguration LogConfiguration             `json:"log_configuration"`
	HealthConfig     *HealthConfig                `json:"healthconfig,omitempty"`
}

// Namespace is how a container gets one of its namespaces.
type Namespace struct {
	Mode  string `json:"nsmode"`
	Value string `json:"value,omitempty"`
}

// NetworkAttachment is how a container is on one network.
type NetworkAttachment struct {
	Aliases       []string `json:"aliases,omitempty"`
	StaticIPs     []string `json:"static_ips,omitempty"`
	StaticMAC     string   `json:"static_mac,omitempty"`
	InterfaceName string   `json:"interface_name,omitempty"`
}

// PortMapping publishes a port.
type PortMapping struct {
	HostIP        string `json:"host_ip,omitempty"`
	HostPort      uint16 `json:"host_port,omitempty"` // zero lets Podman choose
	ContainerPort uint16 `json:"container_port"`
	Range         uint16 `json:"range,omitempty"`
	Protocol      string `json:"protocol,omitempty"`
}

// Mount is a bind mount or a tmpfs.
type Mount struct {
	Type        string   `json:"type"`
	Source      string   `json:"source,omitempty"`
	Destination string   `json:"destination"`
	Options     []string `json:"options,omitempty"`
}

// NamedVolume is a volume in a container.
type NamedVolume struct {
	Name    string   `json:"Name"` // empty makes an anonymous volume
	Dest    string   `json:"Dest"`
	Options []string `json:"Options,omitempty"`
	// SubPath is a part of the volume, which Podman 4.5 and later keep within it.
	SubPath string `json:"SubPath,omitempty"`
}

// ImageVolume is the content of an image in a container.
type ImageVolume struct {
	Source      string `json:"Source"`
	Destination string `json:"Destination"`
	ReadWrite   bool   `json:"ReadWrite,omitempty"`
	SubPath     string `json:"subPath,omitempty"` // known to Podman 5.1 and later
}

// Secret is a secret that Podman keeps, as a file in a container.
type Secret struct {
	Source string `json:"Source"`
	Target string `json:"Target"`
	UID    uint32 `json:"UID"`
	GID    uint32 `json:"GID"`
	Mode   uint32 `json:"Mode"`
}

// Device is source:target:permissions of a device, or a name of CDI.
type Device struct {
	Path string `json:"path"`
}

// DeviceRule is one rule of the device controller; a number that is nil is any.
type DeviceRule struct {
	Allow  bool   `json:"allow"`
	Type   string `json:"type,omitempty"`
	Major  *int64 `json:"major,omitempty"`
	Minor  *int64 `json:"minor,omitempty"`
	Access string `json:"access,omitempty"`
}

// Weight is a share of a block device.
type Weight struct {
	Weight uint16 `json:"weight"`
}

// Throttle is a rate of a block device, in bytes or operations per second.
type Throttle struct {
	Rate uint64 `json:"rate"`
}

// Rlimit is a limit of processes.
type Rlimit struct {
	Type string `json:"type"` // without RLIMIT_
	Hard uint64 `json:"hard"`
	Soft uint64 `json:"soft"`
}

// Resources are the limits of a container.
type Resources struct {
	Memory *MemoryLimit `json:"memory,omitempty"`
	CPU    *CPULimit    `json:"cpu,omitempty"`
	Pids   *PidsLimit   `json:"pids,omitempty"`

	BlockIO *BlockIO `json:"blockIO,omitempty"`
}

// BlockIO is the weight among those who read and write.
type BlockIO struct {
	Weight uint16 `json:"weight,omitempty"`
}

// MemoryLimit bounds memory; in bytes.
type MemoryLimit struct {
	Limit            int64  `json:"limit,omitempty"`
	Reservation      int64  `json:"reservation,omitempty"`
	Swap             int64  `json:"swap,omitempty"` // memory and swap together
	Swappiness       uint64 `json:"swappiness,omitempty"`
	DisableOOMKiller bool   `json:"disableOOMKiller,omitempty"`
}

// CPULimit bounds processor time; times are microseconds.
type CPULimit struct {
	Quota           int64  `json:"quota,omitempty"` // per period
	Period          uint64 `json:"period,omitempty"`
	Shares          uint64 `json:"shares,omitempty"`
	Cpus            string `json:"cpus,omitempty"`
	RealtimePeriod  uint64 `json:"realtimePeriod,omitempty"`
	RealtimeRuntime int64  `json:"realtimeRuntime,omitempty"`
}

// PidsLimit bounds processes.
type PidsLimit struct {
	Limit int64 `json:"limit"`
}

// LogConfiguration says where output is kept.
type LogConfiguration struct {
	Driver string `json:"driver"`
	Size   int64  `json:"size,omitempty"` // bytes at which the file begins anew
}

// HealthConfig is a healthcheck as images and containers store it; durations
// are nanoseconds.
type HealthConfig struct {
	Test          []string      `json:"Test,omitempty"`
	Interval      time.Duration `json:"Interval,omitempty"`
	Timeout       time.Duration `json:"Timeout,omitempty"`
	StartPeriod   time.Duration `json:"StartPeriod,omitempty"`
	StartInterval time.Duration `json:"StartInterval,omitempty"`
	Retries       int           `json:"Retries,omitempty"`
}

// Image is an image in the storage.
type Image struct {
	ID           string        `json:"Id"`
	OS           string        `json:"Os"`
	Architecture string        `json:"Architecture"`
	Variant      string        `json:"Variant"`
	Healthcheck  *HealthConfig `json:"Healthcheck"`
	Config       struct {
		Volumes map[string]struct{} `json:"Volumes"` // by their place in a container
	} `json:"Config"`
}

// Platform is what the image is for, os/arch; empty when it does not say.
func (i *Image) Platform() string {
	if i.Architecture == "" {
		return ""
	}
	return cmp.Or(i.OS, "linux") + "/" + i.Architecture
}

// Runs reports whether the image is for a platform, os/arch[/variant]. An empty one
// is any; variants, which images often leave out, are not compared.
func (i *Image) Runs(platform string) bool {
	parts := append(strings.Split(strings.ToLower(platform), "/"), "")
	arch, known := map[string]string{"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm"}[parts[1]]
	if !known {
		arch = parts[1]
	}
	return arch == "" || i.Architecture == "" || i.Architecture == arch && (i.OS == "" || i.OS == parts[0])
}

// Container is what inspecting a container tells.
type Container struct {
	ID        string `json:"Id"`
	Name      string `json:"Name"`
	Image     string `json:"Image"` // ID
	ImageName string `json:"ImageName"`
	Restarts  int    `json:"RestartCount"` // by its restart policy
	State     struct {
		Status    string      `json:"Status"`
		Pid       int         `json:"Pid"` // zero unless it has a process
		Running   bool        `json:"Running"`
		OOMKilled bool        `json:"OOMKilled"`
		ExitCode  int         `json:"ExitCode"`
		StartedAt time.Time   `json:"StartedAt"`
		Finished  time.Time   `json:"FinishedAt"`    // of the run before, while one goes on
		Stopped   bool        `json:"StoppedByUser"` // told by Podman 5 and later
		Health    HealthState `json:"Health"`
	} `json:"State"`
	Config struct {
		Labels      map[string]string `json:"Labels"`
		Tty         bool              `json:"Tty"`
		StopSignal  any               `json:"StopSignal"` // a number, and since Podman 5 a name
		Healthcheck *HealthConfig     `json:"Healthcheck"`
	} `json:"Config"`
	HostConfig struct {
		RestartPolicy struct {
			Name              string `json:"Name"`
			MaximumRetryCount int    `json:"MaximumRetryCount"` // zero is no maximum
		} `json:"RestartPolicy"`
		LogConfig struct {
			Type string `json:"Type"` // the driver
		} `json:"LogConfig"`
	} `json:"HostConfig"`
	Dependencies    []string `json:"Dependencies"` // containers in whose namespaces it lives, by ID
	NetworkSettings struct {
		Ports map[string][]struct {
			HostIP   string `json:"HostIp"`
			HostPort string `json:"HostPort"`
		} `json:"Ports"`
	} `json:"NetworkSettings"`
}

// HealthState is what the last healthchecks said.
type HealthState struct {
	Status string `json:"Status"`
	Log    []struct {
		Output string `json:"Output"`
	} `json:"Log"`
}

// Listed is a container in a list.
type Listed struct {
	ID     string            `json:"Id"`
	Names  []string          `json:"Names"`
	State  string            `json:"State"`
	Status string            `json:"Status"` // of the healthcheck; empty without one
	Labels map[string]string `json:"Labels"`
	Ports  []PortMapping     `json:"Ports"`

	Networks []string `json:"Networks"` // names
}

// NetworkRequest asks for a network.
type NetworkRequest struct {
	Name       string            `json:"name"`
	Driver     string            `json:"driver"`
	Internal   bool              `json:"internal,omitempty"`
	DNSEnabled bool              `json:"dns_enabled"`
	Labels     map[string]string `json:"labels,omitempty"`

	IPv6Enabled      bool              `json:"ipv6_enabled,omitempty"`
	NetworkInterface string            `json:"network_interface,omitempty"`
	Subnets          []Subnet          `json:"subnets,omitempty"`
	Options          map[string]string `json:"options,omitempty"`
	IPAMOptions      map[string]string `json:"ipam_options,omitempty"`
}

// Subnet is one range of addresses of a network.
type Subnet struct {
	Subnet     string      `json:"subnet"`
	Gateway    string      `json:"gateway,omitempty"`
	LeaseRange *LeaseRange `json:"lease_range,omitempty"`
}

// LeaseRange are the addresses that Podman gives out.
type LeaseRange struct {
	StartIP string `json:"start_ip,omitempty"`
	EndIP   string `json:"end_ip,omitempty"`
}

// Network is a network in a list.
type Network struct {
	Name    string            `json:"name"`
	Labels  map[string]string `json:"labels"`
	Subnets []Subnet          `json:"subnets"`
}

// VolumeRequest asks for a volume.
type VolumeRequest struct {
	Name    string            `json:"Name"`
	Driver  string            `json:"Driver,omitempty"`
	Options map[string]string `json:"Options,omitempty"`
	Labels  map[string]string `json:"Labels,omitempty"`
	// Label is what Podman before 4.4 reads when it is asked for labels.
	Label map[string]string `json:"Label,omitempty"`
}

// Volume is a volume in a list.
type Volume struct {
	Name   string            `json:"Name"`
	Labels map[string]string `json:"Labels"`
}

// Pod is a pod in a list.
type Pod struct {
	ID     string            `json:"Id"`
	Name   string            `json:"Name"`
	Labels map[string]string `json:"Labels"`
}

// Name returns the container's name, or its ID when it has none.
func (l Listed) Name() string {
	if len(l.Names) == 0 {
		return l.ID
	}
	return l.Names[0]
}
