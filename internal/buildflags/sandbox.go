package buildflags

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// networks are the networks of steps.
var networks = []string{"default", "none", "host"}

// allowDelete is an entitlement that buildx looks after, not BuildKit.
const allowDelete = "buildx.local.delete"

// sandbox reads how steps run.
func (f *Flags) sandbox(c *collector, r *imagebuild.Request) {
	for _, lines := range each(c, "add-host", f.hosts, parseHosts) {
		r.AddHosts = append(r.AddHosts, lines...)
	}
	r.Ulimits = each(c, "ulimit", f.ulimits, parseUlimit)
	r.Allow = slices.DeleteFunc(each(c, "allow", f.allow, parseAllow), func(a string) bool { return a == allowDelete })
	if r.Network = f.network; r.Network == "default" {
		r.Network = ""
	}
	if !slices.Contains(networks, f.network) && f.network != "" {
		c.note("network", hint.With(fmt.Errorf("there is no mode %q", f.network), "write --network default, none or host; a network of the node's own is set for buildkitd"))
	}
	if f.shmSize != "" {
		var err error
		r.ShmSize, err = parseSize(f.shmSize)
		c.note("shm-size", err)
	}
	resources := slices.Clone(f.resources)
	for name, value := range f.old() {
		if *value != "" {
			resources = append(resources, name+"="+*value)
		}
	}
	for _, text := range resources {
		name, value, err := parseResource(text)
		if err != nil {
			c.note("resource", err)
			continue
		}
		if r.Resources == nil {
			r.Resources = make(map[string]string)
		}
		r.Resources[name] = value
	}
}

func parseSize(text string) (int64, error) {
	size, err := units.RAMInBytes(text)
	if err != nil || size < 0 {
		return 0, hint.With(fmt.Errorf("%q is no size", text), "write a size like 128m or 2g")
	}
	return size, nil
}

// parseHosts reads a value of --add-host: name:address or name=address, with
// further addresses and lines behind commas. Addresses may be in brackets.
func parseHosts(text string) ([]string, error) {
	var out []string
	name := ""
	for field := range strings.SplitSeq(text, ",") {
		address := field
		if !isAddress(field) || name == "" {
			var ok bool
			if name, address, ok = strings.Cut(field, "="); !ok {
				name, address, ok = strings.Cut(field, ":")
			}
			if !ok || name == "" || strings.ContainsAny(name, " \t\r\n[]\":=") || !isAddress(address) {
				return nil, hint.With(fmt.Errorf("%q is not NAME:ADDRESS", field), "write --add-host db.local:10.0.0.5 or --add-host host.docker.internal:host-gateway")
			}
		}
		out = append(out, name+":"+strings.Trim(address, "[]"))
	}
	return out, nil
}

func isAddress(text string) bool {
	if len(text) > 2 && text[0] == '[' && text[len(text)-1] == ']' {
		text = text[1 : len(text)-1]
	}
	return text == "host-gateway" || net.ParseIP(text) != nil
}

func parseUlimit(text string) (string, error) {
	limit, err := units.ParseUlimit(text)
	if err != nil {
		return "", hint.With(fmt.Errorf("%q is no limit: %w", text, err), "write --ulimit nofile=1024 or --ulimit nofile=1024:2048")
	}
	return limit.String(), nil
}

// parseAllow reads a value of --allow.
func parseAllow(text string) (string, error) {
	name, value, given := strings.Cut(text, "=")
	switch {
	case (name == "network.host" || name == "security.insecure" || name == allowDelete) && !given:
	case name == "device" && (!given || value != ""):
	default:
		return "", hint.With(fmt.Errorf("there is no entitlement %q", text), "write --allow network.host, security.insecure, device or device=NAME")
	}
	return text, nil
}

// parseResource reads a value of --resource. Sizes become bytes.
func parseResource(text string) (name, value string, err error) {
	name, value, _ = strings.Cut(text, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	switch name {
	case "memory", "memory-swap":
		if name == "memory-swap" && value == "-1" { // no bound
			return name, value, nil
		}
		var size int64
		if size, err = parseSize(value); err == nil && size == 0 {
			err = fmt.Errorf("%s is zero", name)
		}
		value = strconv.FormatInt(size, 10)
	case "cpu-shares", "cpu-period", "cpu-quota":
		if n, perr := strconv.ParseInt(value, 10, 64); perr != nil || n <= 0 {
			err = fmt.Errorf("%s: %q is no number above zero", name, value)
		}
	case "cpuset-cpus", "cpuset-mems":
		if value == "" || strings.Trim(value, "0123456789,-") != "" {
			err = fmt.Errorf("%s: %q is no list like 0-2,4", name, value)
		}
	default:
		err = hint.With(fmt.Errorf("there is no resource %q", name), "write memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus or cpuset-mems")
	}
	return name, value, err
}

// annotationLevels are what an annotation can be of.
var annotationLevels = []string{"manifest", "index", "manifest-descriptor", "index-descriptor"}

// parseAnnotations reads the values of --annotation.
func parseAnnotations(list []string) (map[string]string, error) {
	var errs []error
	out := make(map[string]string, len(list))
	for _, text := range list {
		key, value, found := strings.Cut(text, "=")
		if levels, _, given := cutLevels(key); given {
			for level := range strings.SplitSeq(levels, ",") {
				name, platform, bracket := strings.Cut(level, "[")
				if !slices.Contains(annotationLevels, name) || bracket && (len(platform) < 2 || !strings.HasSuffix(platform, "]")) {
					errs = append(errs, hint.With(fmt.Errorf("%q has no level %q", text, level), "write manifest, index, manifest-descriptor or index-descriptor, with [PLATFORM] where wanted"))
				}
			}
		}
		if _, name, _ := cutLevels(key); !found || name == "" {
			errs = append(errs, hint.With(fmt.Errorf("%q is not NAME=VALUE", text), "write --annotation [LEVEL:]NAME=VALUE"))
		}
		out[key] = value
	}
	return out, errors.Join(errs...)
}

// cutLevels parts the key of an annotation into levels and name.
func cutLevels(key string) (levels, name string, given bool) {
	if levels, name, given = strings.Cut(key, ":"); given {
		return levels, name, true
	}
	return "", key, false
}
