package composefile

// verdict says what happens to a key of a compose file.
type verdict int

const (
	unknown     verdict = iota // no compose key at all
	supported                  // honoured
	ignored                    // without meaning here: a warning
	unsupported                // would change what the project does: an error
)

// keyTable maps keys to verdicts. A key that leads to an object with a table of
// its own is in children.
type keyTable struct {
	keys     map[string]verdict
	children map[string]*keyTable // the object below a key
	each     *keyTable            // the objects below every key, whatever its name
	open     bool                 // keys are the user's own names
}

func table(verdicts map[verdict][]string, children map[string]*keyTable) *keyTable {
	t := &keyTable{keys: make(map[string]verdict), children: children}
	for v, keys := range verdicts {
		for _, key := range keys {
			t.keys[key] = v
		}
	}
	return t
}

// named is the table of a section whose keys are the user's names.
func named(each *keyTable) *keyTable { return &keyTable{open: true, each: each} }

// composeKeys is every key of a compose file and what becomes of it.
func composeKeys() *keyTable {
	return table(map[verdict][]string{
		supported:   {"name", "services", "networks", "volumes", "include"},
		ignored:     {"version"},
		unsupported: {"secrets", "configs", "models", "jobs"},
	}, map[string]*keyTable{
		"services": named(serviceKeys()),
		"networks": named(table(map[verdict][]string{
			supported:   {"name", "external", "internal", "labels", "driver"},
			ignored:     {"attachable", "enable_ipv4"},
			unsupported: {"driver_opts", "enable_ipv6", "ipam"},
		}, nil)),
		"volumes": named(table(map[verdict][]string{
			supported:   {"name", "external", "labels", "driver"},
			unsupported: {"driver_opts"},
		}, nil)),
	})
}

func serviceKeys() *keyTable {
	return table(map[verdict][]string{
		supported: {
			"build", "cap_add", "cap_drop", "command", "container_name", "cpus", "depends_on", "entrypoint", "env_file",
			"environment", "expose", "extends", "extra_hosts", "healthcheck", "hostname", "image", "init", "labels", "label_file",
			"mem_limit", "network_mode", "networks", "pids_limit", "platform", "ports", "privileged", "profiles",
			"pull_policy", "read_only", "security_opt", "shm_size", "stdin_open", "stop_grace_period", "stop_signal", "sysctls", "tmpfs",
			"tty", "ulimits", "user", "volumes", "working_dir", "scale", "deploy",
		},
		ignored: {"restart", "develop", "attach", "annotations", "logging"},
		unsupported: {
			"blkio_config", "cgroup", "cgroup_parent", "configs", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota",
			"cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpuset", "credential_spec", "device_cgroup_rules", "devices",
			"dns", "dns_opt", "dns_search", "domainname", "external_links", "gpus", "group_add", "ipc", "isolation", "links",
			"log_driver", "log_opt", "mac_address", "mem_reservation", "mem_swappiness", "memswap_limit", "models", "net",
			"oom_kill_disable", "oom_score_adj", "pid", "post_start", "pre_start", "pre_stop", "provider", "pull_refresh_after",
			"runtime", "secrets", "storage_opt", "umask", "use_api_socket", "userns_mode", "uts", "volume_driver", "volumes_from",
			"dockerfile",
		},
	}, map[string]*keyTable{
		"healthcheck": table(map[verdict][]string{
			supported: {"test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"},
		}, nil),
		"depends_on": named(table(map[verdict][]string{
			supported: {"condition", "required"}, ignored: {"restart"},
		}, nil)),
		"networks": named(table(map[verdict][]string{
			supported:   {"aliases", "use_service_name_alias"},
			ignored:     {"priority", "gw_priority"},
			unsupported: {"driver_opts", "interface_name", "ipv4_address", "ipv6_address", "link_local_ips", "mac_address"},
		}, nil)),
		"ports": table(map[verdict][]string{
			supported: {"target", "published", "host_ip", "protocol", "name", "app_protocol"}, ignored: {"mode"},
		}, nil),
		"volumes": table(map[verdict][]string{
			supported: {"type", "source", "target", "read_only", "bind", "volume", "tmpfs"}, ignored: {"consistency"}, unsupported: {"image"},
		}, map[string]*keyTable{
			"bind":   table(map[verdict][]string{supported: {"create_host_path", "propagation", "selinux"}, unsupported: {"recursive"}}, nil),
			"volume": table(map[verdict][]string{supported: {"nocopy"}, unsupported: {"subpath", "labels"}}, nil),
			"tmpfs":  table(map[verdict][]string{supported: {"size", "mode"}}, nil),
		}),
		"deploy": table(map[verdict][]string{
			supported: {"resources", "replicas"},
			ignored:   {"placement", "update_config", "rollback_config", "restart_policy", "labels", "mode", "endpoint_mode"},
		}, map[string]*keyTable{
			"resources": table(map[verdict][]string{supported: {"limits"}, ignored: {"reservations"}}, map[string]*keyTable{
				"limits": table(map[verdict][]string{supported: {"cpus", "memory", "pids"}}, nil),
			}),
		}),
	})
}

// reasons says more about keys that people miss most.
func reasons() map[string]string {
	return map[string]string{
		"version":      "the compose specification has no versions any more",
		"restart":      "a dependency container that ends is reported, not started again",
		"logging":      "logs are always kept where dockless stack logs finds them",
		"deploy":       "it has no meaning without Swarm",
		"develop":      "it only concerns docker compose watch",
		"secrets":      "mount the file with volumes instead",
		"configs":      "mount the file with volumes instead",
		"links":        "services reach each other by name on their network",
		"volumes_from": "name the volume in both services",
		"ipam":         "Podman chooses the subnet",
	}
}
