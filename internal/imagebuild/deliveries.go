package imagebuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/distribution/reference"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// deliveriesTimeout bounds one question to a node that has just built.
const deliveriesTimeout = 2 * time.Second

// maxProvenance bounds the provenance of one build; it has kilobytes.
const maxProvenance = 8 << 20

// deliveries finds out what the URLs and images that steps read have delivered.
// Only buildkitd knows, which fetched them: it is in the provenance that it keeps
// with every build, asked for or not. A build without such sources is not asked.
func (q *inquiry) deliveries(ctx context.Context, result *Result) {
	urls := q.draft.SourceURLs()
	if len(urls) == 0 {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, deliveriesTimeout, fmt.Errorf("no answer within %s", deliveriesTimeout))
	defer cancel()
	materials, err := q.b.materials(ctx, result)
	if err != nil {
		q.b.log.DebugContext(ctx, "no provenance of a build", "error", err)
		return
	}
	for _, u := range urls {
		if d := materials[materialOf(u)]; d != "" {
			q.draft.SetSource(u, d)
		}
	}
}

// materialOf is how provenance names a URL or an image of a Dockerfile, without
// what follows a # or a platform.
func materialOf(source string) string {
	source = strings.TrimPrefix(source, "docker-image://")
	if strings.Contains(source, "://") || strings.HasPrefix(source, "git@") {
		return source
	}
	named, err := reference.ParseNormalizedNamed(source)
	if err != nil {
		return source
	}
	named = reference.TagNameOnly(named)
	if canonical, ok := named.(reference.Canonical); ok {
		return "pkg:docker/" + reference.FamiliarName(named) + "@" + canonical.Digest().String()
	}
	tag := ""
	if t, ok := named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	return "pkg:docker/" + reference.FamiliarName(named) + "@" + tag
}

// materials returns the digests of what a build was made of by their names.
func (b *Builder) materials(ctx context.Context, result *Result) (_ map[string]string, err error) {
	ref, _ := result.Metadata["buildx.build.ref"].(string)
	for _, n := range b.nodes {
		id, ok := strings.CutPrefix(ref, b.name+"/"+n.Name+"/")
		if !ok {
			continue
		}
		c, err := n.Client(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		return provenance(ctx, c, id)
	}
	return nil, fmt.Errorf("no node has the build %q", ref)
}

func provenance(ctx context.Context, c *client.Client, id string) (map[string]string, error) {
	events, err := c.ControlClient().ListenBuildHistory(ctx, &control.BuildHistoryRequest{Ref: id, EarlyExit: true})
	if err != nil {
		return nil, err
	}
	var descriptors []*control.Descriptor
	for {
		event, err := events.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if event.Record == nil {
			continue
		}
		results := slices.Collect(maps.Values(event.Record.Results))
		if event.Record.Result != nil {
			results = append(results, event.Record.Result)
		}
		for _, r := range results {
			descriptors = append(descriptors, r.Attestations...)
		}
	}
	store := proxy.NewContentStore(c.ContentClient())
	out := make(map[string]string)
	for _, d := range descriptors {
		if d.Size > maxProvenance {
			continue
		}
		text, err := content.ReadBlob(ctx, store, ocispecs.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size})
		if err != nil {
			return nil, err
		}
		if err := addMaterials(out, text); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// material is one thing that a build was made of.
type material struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// addMaterials reads what both versions of SLSA's provenance have.
func addMaterials(out map[string]string, text []byte) error {
	var p struct {
		Predicate *json.RawMessage `json:"predicate"`
		Materials []material       `json:"materials"`
		Build     struct {
			Resolved []material `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("reading provenance: %w", err)
	}
	if p.Predicate != nil {
		return addMaterials(out, *p.Predicate)
	}
	for _, m := range append(p.Materials, p.Build.Resolved...) {
		name := m.URI
		if strings.HasPrefix(name, "pkg:") {
			name, _, _ = strings.Cut(name, "?")
			if plain, err := url.PathUnescape(name); err == nil {
				name = plain
			}
		}
		for _, algorithm := range slices.Sorted(maps.Keys(m.Digest)) {
			out[name] = algorithm + ":" + m.Digest[algorithm]
		}
	}
	return nil
}
