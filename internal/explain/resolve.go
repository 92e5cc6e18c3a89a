package explain

import (
	"slices"
	"strings"
)

// Resolve takes the digests of base images from how BuildKit shows them:
// "[build 1/5] FROM docker.io/library/busybox:latest@sha256:…".
func (d *Draft) Resolve(solved []Solved) {
	for _, s := range solved {
		l, ok := parseLabel(s.Name)
		if !ok || !s.Base {
			continue
		}
		_, digest, ok := strings.Cut(l.text, "@")
		if !ok {
			continue
		}
		for pi := range d.record.Platforms {
			p := &d.record.Platforms[pi]
			for si := range p.Stages {
				st := &p.Stages[si]
				if st.Image != "" && l.of(st.Platform, p.Name) && st.called(l.stage, si) {
					st.Digest = digest
				}
			}
		}
	}
	// Stages of the same image share one vertex, which has the name of one.
	for pi := range d.record.Platforms {
		stages := d.record.Platforms[pi].Stages
		for si := range stages {
			st := &stages[si]
			if st.Image == "" || st.Digest != "" {
				continue
			}
			if twin := slices.IndexFunc(stages, func(o Stage) bool {
				return o.Image == st.Image && o.Platform == st.Platform && o.Digest != ""
			}); twin >= 0 {
				st.Digest = stages[twin].Digest
			}
		}
	}
}
