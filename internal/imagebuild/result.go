package imagebuild

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/explain"
)

// Result is what became of a build that succeeded.
type Result struct {
	// Digest is that of the image, or of the index when there are several
	// platforms or attestations; empty when no output is an image.
	Digest    digest.Digest
	Names     []string // tags in full
	Platforms []string // what was built for
	Node      string   // node that built
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
	Bytes      int64           // sent, as far as BuildKit tells
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
	data, err := json.MarshalIndent(r.Metadata, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the build's metadata: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".metadata-*")
	if err != nil {
		return fmt.Errorf("writing the build's metadata: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	_, err = tmp.Write(append(data, '\n'))
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(tmp.Name(), 0o644) //nolint:gosec // as docker writes it: other steps and users read it
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("writing the build's metadata: %w", err)
	}
	return nil
}
