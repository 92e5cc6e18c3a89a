package podmanrun

import (
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
)

// Images returns the names of the images of the active services, each once; with
// built only of those that are built here and have no name of their own.
func (p *Project) Images(built bool) []string {
	var images []string
	for _, s := range p.compose.Services {
		if !built || s.Build != nil && s.Image == "" {
			images = append(images, imageName(p.compose, s))
		}
	}
	slices.Sort(images)
	return slices.Compact(images)
}

// Networks returns the names of the networks that the services use.
func (p *Project) Networks() []string {
	u := &up{project: p.compose}
	var found []string
	for key := range p.compose.Networks {
		if u.usesNetwork(key) {
			found = append(found, networkName(p.compose, key))
		}
	}
	slices.Sort(found)
	return found
}

// Volumes returns the names of the named volumes.
func (p *Project) Volumes() []string {
	var found []string
	for key := range p.compose.Volumes {
		found = append(found, volumeName(p.compose, key))
	}
	slices.Sort(found)
	return found
}

// Profiles returns the names of all profiles that services are behind.
func (p *Project) Profiles() []string {
	var found []string
	for _, s := range p.compose.AllServices() {
		found = append(found, s.Profiles...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// Quiet returns the services whose output is not wanted beside that of the others.
func (p *Project) Quiet() []string {
	var found []string
	for name, s := range p.compose.Services {
		if s.Attach != nil && !*s.Attach {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// JSON returns the project as [Project.YAML] does, as JSON.
func (p *Project) JSON() ([]byte, error) { return p.compose.MarshalJSON() }

// Hashes returns for each active service a hash of what its container is made
// from, but for the image, which only Podman knows.
func (p *Project) Hashes() (map[string]string, error) {
	hashes := make(map[string]string, len(p.compose.Services))
	for name, s := range p.compose.Services {
		r, err := containerRequest(p.compose, s, 1, Owner{})
		if err != nil {
			return nil, err
		}
		r.seal(r.Image)
		hashes[name] = r.Labels[labelHash]
	}
	return hashes, nil
}

func networksOf(p *types.Project, s types.ServiceConfig) []string {
	if !onNetworks(s) {
		return nil
	}
	var found []string
	for key := range s.Networks {
		found = append(found, networkName(p, key))
	}
	slices.Sort(found)
	return found
}

func volumesOf(p *types.Project, s types.ServiceConfig) []string {
	var found []string
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeVolume && v.Source != "" {
			found = append(found, volumeName(p, v.Source))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
