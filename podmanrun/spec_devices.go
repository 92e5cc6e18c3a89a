package podmanrun

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// gpuKinds are the CDI kinds of the drivers that reservations name. A reservation
// without a driver means NVIDIA's, as with docker.
var gpuKinds = map[string]string{"": "nvidia.com/gpu", "nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/gpu", "cdi": ""}

// addDevices hands devices of the host to the container, those of reservations
// by their names in CDI.
func addDevices(r *createRequest, s types.ServiceConfig) error {
	for _, d := range s.Devices {
		path := d.Source
		if !isCDI(d.Source) {
			path = strings.Join([]string{d.Source, cmp.Or(d.Target, d.Source), cmp.Or(d.Permissions, "rwm")}, ":")
		}
		r.Devices = append(r.Devices, libpod.Device{Path: path})
	}
	reserved := slices.Clone(s.Gpus)
	for i := range reserved {
		reserved[i].Capabilities = append(slices.Clone(reserved[i].Capabilities), "gpu")
	}
	if s.Deploy != nil && s.Deploy.Resources.Reservations != nil {
		reserved = append(reserved, s.Deploy.Resources.Reservations.Devices...)
	}
	for _, d := range reserved {
		names, err := cdiNames(d)
		if err != nil {
			return err
		}
		for _, name := range names {
			r.Devices = append(r.Devices, libpod.Device{Path: name})
		}
	}
	for _, rule := range s.DeviceCgroupRules {
		parsed, err := deviceRule(rule)
		if err != nil {
			return err
		}
		r.DeviceCgroupRule = append(r.DeviceCgroupRule, parsed)
	}
	return nil
}

// isCDI reports whether a device is a name of CDI, vendor.com/class=name, and no path.
func isCDI(name string) bool {
	kind, device, ok := strings.Cut(name, "=")
	return ok && device != "" && strings.Contains(kind, "/") && !strings.HasPrefix(name, "/")
}

// cdiNames are the devices that a reservation means.
func cdiNames(d types.DeviceRequest) ([]string, error) {
	kind, known := gpuKinds[strings.ToLower(d.Driver)]
	if !known || d.Driver != "cdi" && !slices.Contains(d.Capabilities, "gpu") {
		err := fmt.Errorf("a reservation of devices with driver %q and capabilities %q is not supported", d.Driver, d.Capabilities)
		return nil, hint.With(err, "reserve GPUs with capabilities: [gpu], or name a CDI device in devices, for example nvidia.com/gpu=all")
	}
	var names []string
	for _, id := range d.IDs {
		if kind != "" && !isCDI(id) {
			id = kind + "=" + id
		}
		names = append(names, id)
	}
	switch {
	case len(names) > 0:
	case kind == "":
		return nil, errors.New("a reservation of CDI devices names none in device_ids")
	case d.Count <= 0: // "all" is -1, and nothing at all means all
		names = append(names, kind+"=all")
	default:
		for i := range int64(d.Count) {
			names = append(names, kind+"="+strconv.FormatInt(i, 10))
		}
	}
	return names, nil
}

// deviceRule reads a rule of the kernel's device controller, as "c 1:3 mr".
func deviceRule(rule string) (libpod.DeviceRule, error) {
	bad := fmt.Errorf("device_cgroup_rules: %q is no rule like \"c 1:3 mr\"", rule)
	fields := strings.Fields(rule)
	if len(fields) != 3 || !slices.Contains([]string{"a", "b", "c"}, fields[0]) {
		return libpod.DeviceRule{}, bad
	}
	out := libpod.DeviceRule{Allow: true, Type: fields[0], Access: fields[2]}
	major, minor, ok := strings.Cut(fields[1], ":")
	if !ok || strings.Trim(out.Access, "rwm") != "" {
		return libpod.DeviceRule{}, bad
	}
	for to, text := range map[**int64]string{&out.Major: major, &out.Minor: minor} {
		if text == "*" {
			continue // nil is every number
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return libpod.DeviceRule{}, bad
		}
		*to = &n
	}
	return out, nil
}
