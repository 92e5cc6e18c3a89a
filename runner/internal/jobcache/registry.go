package jobcache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/dockless-ci/dockless/internal/registryhttp"
)

// Registry keeps entries as OCI artifacts with one layer, tar and zstd. An entry
// has one tag for its key and one for each beginning of it: the latter name the
// newest entry that begins so, so that a restore key costs one request however many
// entries there are.
type Registry struct {
	Repo     string // repository of all caches, for example registry.ci.svc:5000/cache/jobs
	Insecure []string
	Auth     authn.Keychain

	mu    sync.Mutex
	dead  error                   // why it is not asked any more; it lives as long as one step
	conns *registryhttp.Transport // made when they are needed
}

// Close ends the connections.
func (r *Registry) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns != nil {
		r.conns.CloseIdleConnections()
	}
}

// connections returns those of this registry: others would keep idle ones open.
func (r *Registry) connections() http.RoundTripper {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		r.conns = registryhttp.Own(r.Insecure)
	}
	return r.conns
}

const (
	mediaConfig = types.MediaType("application/vnd.dockless.jobcache.config.v1+json")
	mediaLayer  = types.MediaType("application/vnd.dockless.jobcache.layer.v1.tar+zstd")
	// annotation holds the header of the entry as JSON.
	annotation = "io.dockless.jobcache"

	// lookUpTime is far above the tens of milliseconds of a registry that works, and
	// below what people wait for without asking why.
	lookUpTime = 10 * time.Second
	// moveTime lets some gigabytes through a busy registry.
	moveTime = 5 * time.Minute
	// mostPrefixes bounds the tags of one entry; keys have two to five segments.
	mostPrefixes = 8
)

// errMiss says that the registry has no such entry.
var errMiss = errors.New("no such cache")

func (r *Registry) exactTag(scope Scope, key Key) string { return string(scope) + ".key-" + key.hash() }

func (r *Registry) prefixTag(scope Scope, key Key) string {
	return string(scope) + ".pre-" + key.hash()
}

// gone remembers that the registry does not answer, for the rest of the step.
func (r *Registry) gone(err error) error {
	if status, ok := errors.AsType[*transport.Error](err); ok && status.StatusCode < http.StatusInternalServerError {
		if status.StatusCode == http.StatusNotFound {
			return errMiss
		}
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = errors.Join(errMiss, err) // warned of once
	return err
}

func (r *Registry) alive() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dead
}

func (r *Registry) reference(tag string) (name.Tag, error) {
	var opts []name.Option
	if host, _, _ := strings.Cut(r.Repo, "/"); slices.Contains(r.Insecure, host) {
		opts = append(opts, name.Insecure)
	}
	return name.NewTag(r.Repo+":"+tag, opts...)
}

func (r *Registry) options(ctx context.Context) []remote.Option {
	auth := r.Auth
	if auth == nil {
		auth = authn.NewMultiKeychain()
	}
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(auth), remote.WithTransport(r.connections())}
}

// found is an entry in the registry.
type found struct {
	header

	registry *Registry
	ref      name.Tag
	layer    v1.Hash
}

// find looks an entry up.
func (r *Registry) find(ctx context.Context, tag string) (*found, error) {
	if err := r.alive(); err != nil {
		return nil, err
	}
	ref, err := r.reference(tag)
	if err != nil {
		return nil, fmt.Errorf("naming the cache in the registry: %w", err)
	}
	bound, cancel := context.WithTimeoutCause(ctx, lookUpTime, fmt.Errorf("the registry %s did not answer within %s", ref.RegistryStr(), lookUpTime))
	defer cancel()
	// One attempt: a step goes on without a cache sooner than it waits for one.
	once := append(r.options(bound), remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes())
	d, err := remote.Get(ref, once...)
	if err != nil {
		return nil, r.gone(because(bound, err))
	}
	m, err := v1.ParseManifest(strings.NewReader(string(d.Manifest)))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errBroken, ref, err)
	}
	f := &found{registry: r, ref: ref}
	if err := json.Unmarshal([]byte(m.Annotations[annotation]), &f.header); err != nil || len(f.Key) == 0 ||
		len(m.Layers) != 1 || m.Layers[0].MediaType != mediaLayer || m.Layers[0].Size != f.Size {
		return nil, fmt.Errorf("%w: %s is no cache", errBroken, ref)
	}
	f.layer = m.Layers[0].Digest
	return f, nil
}

// because returns why a context ended, when it did.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// has reports whether the registry has an entry; in doubt it has none.
func (r *Registry) has(ctx context.Context, scope Scope, key Key, complain func(error)) bool {
	f, err := r.find(ctx, r.exactTag(scope, key))
	if err != nil {
		complain(err)
		return false
	}
	return f.Key.String() == key.String()
}

// download writes the entry to a file, and fails unless every byte is as promised.
func (f *found) download(ctx context.Context, to *os.File) error {
	bound, cancel := context.WithTimeoutCause(ctx, moveTime, fmt.Errorf("the cache did not arrive within %s", moveTime))
	defer cancel()
	layer, err := remote.Layer(f.ref.Digest(f.layer.String()), f.registry.options(bound)...)
	if err != nil {
		return because(bound, err)
	}
	from, err := layer.Compressed()
	if err != nil {
		return f.registry.gone(because(bound, err))
	}
	defer from.Close() //nolint:errcheck // read only
	if _, err := to.Seek(headerSize, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, sum), io.LimitReader(from, f.Size+1))
	switch {
	case err != nil:
		return because(bound, err)
	case n != f.Size || hex.EncodeToString(sum.Sum(nil)) != f.layer.Hex:
		return fmt.Errorf("%w: its bytes are not those of %s", errBroken, f.layer)
	}
	f.Digest = f.layer.Hex
	return f.put(to)
}

// push sends an entry, under the tag of its key last: whoever finds that finds all.
func (r *Registry) push(ctx context.Context, scope Scope, h header, content *io.SectionReader) error {
	if err := r.alive(); err != nil {
		return err
	}
	bound, cancel := context.WithTimeoutCause(ctx, moveTime, fmt.Errorf("not done within %s", moveTime))
	defer cancel()
	image, err := imageOf(h, content)
	if err != nil {
		return err
	}
	var tags []string
	for i := min(len(h.Key), mostPrefixes); i > 0; i-- {
		tags = append(tags, r.prefixTag(scope, h.Key[:i]))
	}
	tags = append(tags, r.exactTag(scope, h.Key))
	for i, tag := range tags {
		ref, err := r.reference(tag)
		if err != nil {
			return fmt.Errorf("naming the cache in the registry: %w", err)
		}
		if i == 0 {
			err = remote.Write(ref, image, r.options(bound)...)
		} else {
			err = remote.Tag(ref, image, r.options(bound)...)
		}
		if err != nil {
			return r.gone(because(bound, err))
		}
	}
	return nil
}

// imageOf is an entry as the registry keeps it.
func imageOf(h header, content *io.SectionReader) (v1.Image, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	hash := v1.Hash{Algorithm: "sha256", Hex: h.Digest}
	layer, err := partial.CompressedToLayer(&blob{hash: hash, content: content})
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mediaConfig)
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, MediaType: mediaLayer})
	if err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(image, map[string]string{annotation: string(text)}).(v1.Image)
	if !ok {
		return nil, errors.New("an image with annotations is no image")
	}
	return annotated, nil
}

// blob is the content of an entry as a layer.
type blob struct {
	hash    v1.Hash
	content *io.SectionReader
}

// Digest implements partial.CompressedLayer.
func (b *blob) Digest() (v1.Hash, error) { return b.hash, nil }

// DiffID is the digest: nobody runs this image, and unpacking it only to name it
// would cost as much as packing it.
func (b *blob) DiffID() (v1.Hash, error) { return b.hash, nil }

// Compressed implements partial.CompressedLayer.
func (b *blob) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(b.content, 0, b.content.Size())), nil
}

// Size implements partial.CompressedLayer.
func (b *blob) Size() (int64, error) { return b.content.Size(), nil }

// MediaType implements partial.CompressedLayer.
func (b *blob) MediaType() (types.MediaType, error) { return mediaLayer, nil }
