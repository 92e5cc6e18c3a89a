package imagebuild

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/explain"
	"github.com/dockless-ci/dockless/internal/wholefile"
)

// Result is what became of a build that succeeded.
type Result struct {
	// Digest is that of the image, or of the index when there are several
	// platforms or attestations; empty when no output is an image.
	Digest    digest.Digest
	Names     []string // tags in full
	Platforms []string // what was built for
	Node      string   // node that built; several with commas between
	// Metadata is what --metadata-file holds, under buildx's keys.
	Metadata map[string]any
	Steps    []Step // in the order BuildKit told of them
	Stats    Stats
	// Parts say which node built what; there is one for each node.
	Parts []Part
	// Reasons say of each step that ran why it did, in the order of Steps; empty
	// when nobody asked for them.
	Reasons []explain.Reason
	Imports []string     // cache references that were asked for
	Export  *CacheExport // nil when none was wanted
}

// Part is what one node built of an image.
type Part struct {
	Node      string
	Platforms []string
	Emulated  []string // of Platforms, those that the node cannot run natively
	Digest    digest.Digest
	Retried   string // node that died while it built this first; empty: none did
}

// CacheExport says how the export of the cache went. An image is good without.
type CacheExport struct {
	Ref     string
	Err     error  // why there is no new cache; nil when there is, or will be
	Skipped string // why none was tried, in words; empty: one was
	// Background says that the build did not wait for the end: Err, Bytes and the
	// whole Duration are known to Options.Observe and Close only.
	Background bool
	Form       buildcache.Form // in which the cache was written last
	Waited     time.Duration   // for other exports to the registry, part of Duration
	Duration   time.Duration   // zero when none was tried
	Bytes      int64           // of the cache's layers in the registry; zero when it did not say
}

// result reads what the exporters of the parts answered and puts their images
// together.
func (w *work) result(ctx context.Context, parts []*solver) (*Result, error) {
	out := &Result{}
	for _, n := range w.names {
		out.Names = append(out.Names, n.String())
	}
	for _, p := range w.wanted {
		out.Platforms = append(out.Platforms, platforms.FormatAll(p))
	}
	var nodes []string
	for _, s := range parts {
		steps := s.recorder.steps()
		out.Steps = append(out.Steps, steps...)
		part := Part{
			Node: s.node.Name, Emulated: s.emulated, Retried: s.retried,
			Digest: digest.Digest(s.response[exptypes.ExporterImageDigestKey]),
		}
		for _, p := range s.wanted {
			part.Platforms = append(part.Platforms, platforms.FormatAll(p))
		}
		if len(part.Platforms) == 0 && len(s.node.Platforms) > 0 {
			part.Platforms = []string{platforms.FormatAll(s.node.Platforms[0])}
		}
		if len(w.wanted) == 0 {
			out.Platforms = append(out.Platforms, part.Platforms...)
		}
		out.Parts = append(out.Parts, part)
		nodes = append(nodes, s.node.Name)
		for _, e := range s.answers.usable {
			if ref := e.Attrs["ref"]; ref != "" && !slices.Contains(out.Imports, ref) {
				out.Imports = append(out.Imports, ref)
			}
		}
	}
	out.Node = strings.Join(nodes, ",")
	out.Stats = count(out.Steps)
	first := parts[0]
	out.Metadata = metadata(first.response, w.b.name+"/"+first.node.Name+"/"+first.id)
	out.Digest = out.Parts[0].Digest
	if w.merger == nil {
		if err := first.keep(ctx); err != nil {
			return nil, err
		}
	} else if err := w.merge(ctx, parts, out); err != nil {
		return nil, err
	}
	if _, ok := out.Metadata[exptypes.ExporterImageNameKey]; !ok && len(out.Names) > 0 && out.Digest != "" {
		out.Metadata[exptypes.ExporterImageNameKey] = strings.Join(out.Names, ",")
	}
	return out, nil
}

// merge makes one image of the parts and enters it in the result.
func (w *work) merge(ctx context.Context, parts []*solver, out *Result) error {
	var index *assembled
	if out.Digest != "" {
		manifests := make([][]ocispecs.Descriptor, len(parts))
		for i, s := range parts {
			manifests[i] = s.manifests
		}
		var err error
		if index, err = assemble(manifests, w.wanted, w.annotations); err != nil {
			return err
		}
		raw, err := json.Marshal(index.Descriptor)
		if err != nil {
			return fmt.Errorf("describing the index: %w", err)
		}
		out.Digest = index.Digest
		delete(out.Metadata, exptypes.ExporterImageConfigDigestKey) // one platform's
		out.Metadata[exptypes.ExporterImageDigestKey] = index.Digest.String()
		out.Metadata[exptypes.ExporterImageDescriptorKey] = json.RawMessage(raw)
		var names []string
		for _, n := range w.merger.pushed() {
			names = append(names, n.String())
		}
		if len(names) == 0 {
			names = out.Names
		}
		if delete(out.Metadata, exptypes.ExporterImageNameKey); len(names) > 0 {
			out.Metadata[exptypes.ExporterImageNameKey] = strings.Join(names, ",")
		}
	}
	if err := w.merger.finish(ctx, len(parts), index); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("building: %w", err)
	}
	return nil
}

// metadata turns the exporter's answers into buildx's form: values that are
// JSON in base64 become the JSON.
func metadata(response map[string]string, ref string) map[string]any {
	out := make(map[string]any, len(response)+1)
	for k, v := range response {
		out[k] = v
		if raw, err := base64.StdEncoding.DecodeString(v); err == nil && json.Valid(raw) && strings.HasPrefix(strings.TrimSpace(string(raw)), "{") {
			out[k] = json.RawMessage(raw)
		}
	}
	if ref != "" {
		out["buildx.build.ref"] = ref
	}
	return out
}

// WriteMetadata writes r's metadata to file as --metadata-file does.
func (r *Result) WriteMetadata(file string) error {
	data, err := r.MetadataJSON()
	if err != nil {
		return err
	}
	// As docker writes it: other steps and users read it.
	if err := wholefile.Write(file, 0o644, data); err != nil {
		return fmt.Errorf("writing the build's metadata: %w", err)
	}
	return nil
}

// MetadataJSON returns the file of --metadata-file.
func (r *Result) MetadataJSON() ([]byte, error) {
	data, err := json.MarshalIndent(r.Metadata, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the build's metadata: %w", err)
	}
	// Steps are named by what a Dockerfile says, and people print this file in logs
	// where "##" begins a command to the CI. In JSON it can be written otherwise, and
	// stands in texts only.
	data = bytes.ReplaceAll(data, []byte("##"), []byte(`\u0023\u0023`))
	return append(data, '\n'), nil
}
