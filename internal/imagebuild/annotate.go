package imagebuild

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/internal/hint"
)

// annotation is one key of --annotation at one level of an image.
type annotation struct {
	level    string // one of exptypes.Annotation…
	platform *ocispecs.Platform
	key      string
	value    string
}

// annotationLevel matches what may stand before the colon of a key, once or
// several times with commas between.
var annotationLevel = regexp.MustCompile(`^(index|index-descriptor|manifest|manifest-descriptor)(?:\[([A-Za-z0-9_/.()-]+)\])?$`)

// parseAnnotations reads Request.Annotations, in the order of their keys.
func parseAnnotations(all map[string]string) ([]annotation, error) {
	var out []annotation
	for _, full := range slices.Sorted(maps.Keys(all)) {
		list, err := parseAnnotation(full)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			a.value = all[full]
			out = append(out, a)
		}
	}
	return out, nil
}

// parseAnnotation reads one key with its levels. A colon after anything else than
// levels belongs to the key.
func parseAnnotation(full string) ([]annotation, error) {
	levels, key, found := strings.Cut(full, ":")
	var out []annotation
	for level := range strings.SplitSeq(levels, ",") {
		m := annotationLevel.FindStringSubmatch(level)
		if !found || m == nil {
			out = nil
			break
		}
		a := annotation{level: m[1], key: key}
		if m[2] != "" {
			p, err := platforms.Parse(m[2])
			if err != nil || strings.HasPrefix(m[1], exptypes.AnnotationIndex) {
				return nil, hint.With(fmt.Errorf("the annotation %q has no usable platform", full), "write manifest[linux/amd64]:KEY=VALUE; an index has no platform")
			}
			p = platforms.Normalize(p)
			a.platform = &p
		}
		out = append(out, a)
	}
	if out == nil {
		key = full
		out = []annotation{{level: exptypes.AnnotationManifest, key: key}}
	}
	if key == "" || strings.ContainsAny(key, " \t\r\n") {
		return nil, hint.With(fmt.Errorf("the annotation %q has no usable key", full), "write --annotation KEY=VALUE or LEVEL:KEY=VALUE")
	}
	return out, nil
}

// annotate sets annotations as attributes of the exporters that write images for
// the wanted platforms. What belongs to the index of several parts is not theirs.
func annotate(entries []client.ExportEntry, all []annotation, wanted []ocispecs.Platform, part bool) {
	for _, e := range entries {
		if e.Type != client.ExporterImage && e.Type != client.ExporterOCI && e.Type != client.ExporterDocker {
			continue
		}
		for _, a := range all {
			if part && strings.HasPrefix(a.level, exptypes.AnnotationIndex) || e.Type == client.ExporterDocker && a.level != exptypes.AnnotationManifest {
				continue // Docker's own archive has no place for it
			}
			k := exptypes.AnnotationKey{Type: a.level, Platform: a.platform, Key: a.key}
			if a.platform != nil {
				if part && !a.in(wanted) {
					continue // another part's
				}
				if len(wanted) == 1 && a.in(wanted) {
					k.Platform = nil // BuildKit looks for it only where there are several
				}
			}
			e.Attrs[k.String()] = a.value
		}
	}
}

// in reports whether the annotation's platform is among some.
func (a annotation) in(wanted []ocispecs.Platform) bool {
	return slices.ContainsFunc(wanted, func(p ocispecs.Platform) bool { return platforms.FormatAll(p) == platforms.FormatAll(*a.platform) })
}

// levelOf returns the annotations of one level that are for no platform in particular.
func levelOf(all []annotation, level string) map[string]string {
	var out map[string]string
	for _, a := range all {
		if a.level == level && a.platform == nil {
			if out == nil {
				out = make(map[string]string)
			}
			out[a.key] = a.value
		}
	}
	return out
}
