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
		supported:   {"name", "services", "networks", "volumes", "include", "secrets", "configs"},
		ignored:     {"version"},
		unsupported: {"models", "jobs"},
	}, map[string]*keyTable{
		"services": named(serviceKeys()),
		"networks": named(table(map[verdict][]string{
			supported: {"name", "external", "internal", "labels", "driver", "driver_opts", "enable_ipv6", "ipam"},
			ignored:   {"attachable", "enable_ipv4"},
		}, map[string]*keyTable{
			"ipam": table(map[verdict][]string{supported: {"driver", "config"}, unsupported: {"options"}}, map[string]*keyTable{
				"config": table(map[verdict][]string{supported: {"subnet", "gateway", "ip_range"}, unsupported: {"aux_addresses"}}, nil),
			}),
		})),
		"volumes": named(table(map[verdict][]string{
			supported: {"name", "external", "labels", "driver", "driver_opts"},
		}, nil)),
		"secrets": named(fileKeys()),
		"configs": named(fileKeys()),
	})
}

// fileKeys are those of a config or secret.
func fileKeys() *keyTable {
	return table(map[verdict][]string{
		supported:   {"name", "external", "file", "environment", "content"},
		ignored:     {"labels"},
		unsupported: {"driver", "driver_opts", "template_driver"},
	}, nil)
}

func serviceKeys() *keyTable {
	hooks := table(map[verdict][]string{supported: {"command", "user", "privileged", "working_dir", "environment"}}, nil)
	reference := table(map[verdict][]string{supported: {"source", "target", "uid", "gid", "mode"}}, nil)
	return table(map[verdict][]string{
		supported: {
			"annotations", "blkio_config", "build", "cap_add", "cap_drop", "cgroup", "cgroup_parent", "command", "configs", "container_name",
			"cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpus", "cpuset", "depends_on", "deploy",
			"device_cgroup_rules", "devices", "dns", "dns_opt", "dns_search", "domainname", "entrypoint", "env_file", "environment", "expose",
			"extends", "extra_hosts", "gpus", "group_add", "healthcheck", "hostname", "image", "init", "ipc", "label_file", "labels", "links",
			"logging", "mac_address", "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "network_mode", "networks",
			"oom_kill_disable", "oom_score_adj", "pid", "pids_limit", "platform", "ports", "post_start", "pre_stop", "privileged", "profiles",
			"pull_policy", "read_only", "restart", "runtime", "scale", "secrets", "security_opt", "shm_size", "stdin_open", "stop_grace_period",
			"stop_signal", "storage_opt", "sysctls", "tmpfs", "tty", "ulimits", "umask", "user", "userns_mode", "uts", "volumes", "volumes_from",
			"working_dir", "attach",
		},
		ignored: {"develop", "log_driver", "log_opt"},
		unsupported: {
			"cpu_count", "cpu_percent", "credential_spec", "external_links", "isolation", "models", "net", "pre_start", "provider",
			"pull_refresh_after", "use_api_socket", "volume_driver", "dockerfile",
		},
	}, map[string]*keyTable{
		"build": table(map[verdict][]string{
			supported: {
				"context", "dockerfile", "dockerfile_inline", "additional_contexts", "args", "labels", "target", "tags", "platforms",
				"cache_from", "cache_to", "no_cache", "no_cache_filter", "pull", "network", "extra_hosts", "ulimits", "shm_size",
				"entitlements", "privileged", "sbom", "provenance", "secrets", "ssh",
			},
			unsupported: {"isolation"},
		}, nil),
		"healthcheck": table(map[verdict][]string{
			supported: {"test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"},
		}, nil),
		"depends_on": named(table(map[verdict][]string{supported: {"condition", "required", "restart"}}, nil)),
		"networks": named(table(map[verdict][]string{
			supported:   {"aliases", "use_service_name_alias", "interface_name", "ipv4_address", "ipv6_address", "mac_address"},
			ignored:     {"priority", "gw_priority"},
			unsupported: {"driver_opts", "link_local_ips"},
		}, nil)),
		"ports": table(map[verdict][]string{
			supported: {"target", "published", "host_ip", "protocol", "name", "app_protocol"}, ignored: {"mode"},
		}, nil),
		"volumes": table(map[verdict][]string{
			supported: {"type", "source", "target", "read_only", "bind", "volume", "tmpfs", "image"}, ignored: {"consistency"},
		}, map[string]*keyTable{
			"bind":   table(map[verdict][]string{supported: {"create_host_path", "propagation", "selinux", "recursive"}}, nil),
			"volume": table(map[verdict][]string{supported: {"nocopy", "subpath"}, ignored: {"labels"}}, nil),
			"tmpfs":  table(map[verdict][]string{supported: {"size", "mode"}}, nil),
			"image":  table(map[verdict][]string{supported: {"subpath"}}, nil),
		}),
		"deploy": table(map[verdict][]string{
			supported: {"resources", "replicas", "restart_policy"},
			ignored:   {"placement", "update_config", "rollback_config", "labels", "mode", "endpoint_mode"},
		}, map[string]*keyTable{
			"resources": table(map[verdict][]string{supported: {"limits", "reservations"}}, map[string]*keyTable{
				"limits": table(map[verdict][]string{supported: {"cpus", "memory", "pids"}, ignored: {"devices"}}, nil),
				"reservations": table(map[verdict][]string{supported: {"memory", "devices"}, ignored: {"cpus", "pids", "generic_resources"}}, map[string]*keyTable{
					"devices": table(map[verdict][]string{supported: {"capabilities", "driver", "count", "device_ids"}, ignored: {"options"}}, nil),
				}),
			}),
			"restart_policy": table(map[verdict][]string{supported: {"condition", "max_attempts"}, ignored: {"delay", "window"}}, nil),
		}),
		"logging":    table(map[verdict][]string{supported: {"driver", "options"}}, nil),
		"post_start": hooks,
		"pre_stop":   hooks,
		"configs":    reference,
		"secrets":    reference,
	})
}

// reasons says more about keys that people miss most.
func reasons() map[string]string {
	return map[string]string{
		"version":         "the compose specification has no versions any more",
		"deploy":          "it has no meaning without Swarm",
		"develop":         "it only concerns docker compose watch",
		"external_links":  "put both services on one external network",
		"log_driver":      "logs are always kept where dockless stack logs finds them",
		"credential_spec": "it is for Windows",
		"isolation":       "it is for Windows",
		"cpu_count":       "it is for Windows",
		"cpu_percent":     "it is for Windows",
		"provider":        "it is a program that docker compose starts",
		"models":          "they are run by Docker Desktop",
		"use_api_socket":  "mount the socket of the Podman service with volumes",
		"pre_start":       "write a service that ends, and depend on it with service_completed_successfully",
		"aux_addresses":   "Podman keeps no address free",
		"link_local_ips":  "Podman has no such addresses",
	}
}
