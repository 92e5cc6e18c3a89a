package podmanrun

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

func volumeName(p *types.Project, key string) string {
	if v := p.Volumes[key]; v.Name != "" {
		return v.Name
	}
	return p.Name + "_" + key
}

// addVolumes mounts what the service names.
func addVolumes(r *createRequest, p *types.Project, s types.ServiceConfig) error {
	for _, v := range s.Volumes {
		var err error
		switch v.Type {
		case types.VolumeTypeVolume:
			err = addVolume(r, p, v)
		case types.VolumeTypeBind:
			err = addBind(r, v)
		case types.VolumeTypeTmpfs:
			addTmpfs(r, v)
		case types.VolumeTypeImage:
			image := libpod.ImageVolume{Source: v.Source, Destination: v.Target, ReadWrite: !v.ReadOnly}
			if v.Image != nil {
				image.SubPath = v.Image.SubPath
			}
			r.ImageVolumes = append(r.ImageVolumes, image)
		default:
			err = fmt.Errorf("a volume of type %q is not supported", v.Type)
		}
		if err != nil {
			return err
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
	r.VolumesFrom = volumesFrom(s)
	r.noteParts()
	return nil
}

// volumesFrom names containers whose volumes the service has too; those of other
// services keep their prefix until the container is known.
func volumesFrom(s types.ServiceConfig) []string {
	var list []string
	for _, from := range s.VolumesFrom {
		if container, ok := strings.CutPrefix(from, ofContainer); ok {
			list = append(list, container)
			continue
		}
		list = append(list, ofService+from)
	}
	return list
}

func addVolume(r *createRequest, p *types.Project, v types.ServiceVolumeConfig) error {
	var options []string
	if v.ReadOnly {
		options = append(options, "ro")
	}
	named := libpod.NamedVolume{Dest: v.Target}
	if v.Source != "" {
		named.Name = volumeName(p, v.Source)
	}
	if v.Volume != nil {
		named.SubPath = v.Volume.Subpath
		// Podman copies what the image has there to the top of the volume.
		if v.Volume.NoCopy || named.SubPath != "" {
			options = append(options, "nocopy")
		}
	}
	if named.SubPath != "" && !filepath.IsLocal(named.SubPath) {
		return fmt.Errorf("volume %s: the subpath %q leads out of the volume", v.Source, named.SubPath)
	}
	named.Options = options
	r.Volumes = append(r.Volumes, named)
	return nil
}

func addBind(r *createRequest, v types.ServiceVolumeConfig) error {
	recursion := "rbind"
	var options []string
	if v.ReadOnly {
		options = append(options, "ro")
	}
	if b := v.Bind; b != nil {
		switch b.Recursive {
		case "", "enabled":
		case "disabled":
			recursion = "bind"
		default:
			return fmt.Errorf("a bind mount with recursive: %s is not supported, only enabled and disabled", b.Recursive)
		}
		for _, o := range []string{b.Propagation, b.SELinux} {
			if o != "" {
				options = append(options, o)
			}
		}
	}
	r.Mounts = append(r.Mounts, libpod.Mount{Type: v.Type, Source: v.Source, Destination: v.Target, Options: append(options, recursion)})
	return nil
}

func addTmpfs(r *createRequest, v types.ServiceVolumeConfig) {
	var options []string
	if v.ReadOnly {
		options = append(options, "ro")
	}
	if v.Tmpfs != nil && v.Tmpfs.Size > 0 {
		options = append(options, "size="+strconv.FormatInt(int64(v.Tmpfs.Size), 10))
	}
	if v.Tmpfs != nil && v.Tmpfs.Mode > 0 {
		options = append(options, fmt.Sprintf("mode=%o", v.Tmpfs.Mode))
	}
	r.Mounts = append(r.Mounts, tmpfs(v.Target, options))
}

func tmpfs(target string, options []string) libpod.Mount {
	return libpod.Mount{Type: "tmpfs", Source: "tmpfs", Destination: target, Options: options}
}
