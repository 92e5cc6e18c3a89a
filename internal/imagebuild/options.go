package imagebuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Names by which the Dockerfile frontend asks for what is on this machine.
const (
	localContext    = "context"
	localDockerfile = "dockerfile"
)

// maxDockerfile bounds a Dockerfile read from a stream. BuildKit itself takes
// one of at most 128 MiB in one message; no real one comes near a mebibyte.
const maxDockerfile = 1 << 20

// readSecrets reads every secret once, so that a missing one is reported before
// anything is built.
func readSecrets(ctx context.Context, list []Secret) (map[string][]byte, error) {
	out := make(map[string][]byte, len(list))
	for _, s := range list {
		value, err := s.Open(ctx)
		if err != nil {
			return nil, err
		}
		if len(value) > secretsprovider.MaxSecretSize {
			return nil, fmt.Errorf("secret %s has %d bytes, more than the %d that BuildKit takes", s.ID, len(value), secretsprovider.MaxSecretSize)
		}
		out[s.ID] = value
	}
	return out, nil
}

// readText reads a Dockerfile from a stream, so that every solve of the build sees
// it.
func readText(stream io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(stream, maxDockerfile+1))
	if err != nil {
		return "", fmt.Errorf("reading the Dockerfile: %w", err)
	}
	if len(text) > maxDockerfile {
		return "", fmt.Errorf("reading the Dockerfile: it is larger than %d bytes", maxDockerfile)
	}
	return string(text), nil
}

// textFS is a directory with nothing but the Dockerfile from a stream.
func (s *solver) textFS() (fsutil.FS, error) {
	stream, ok := s.r.DockerfileText.(io.ReadSeeker)
	if !ok {
		return nil, errors.New("the stream was not read before")
	}
	if _, err := stream.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(stream)
	if err != nil {
		return nil, err
	}
	return &memoryFS{stat: &types.Stat{Path: "Dockerfile", Mode: 0o644, Size: int64(len(text))}, text: text}, nil
}

func (s *solver) attachables() ([]session.Attachable, error) {
	auth, err := s.r.Auth.Attachable()
	if err != nil {
		return nil, err
	}
	out := []session.Attachable{auth}
	if len(s.secrets) > 0 {
		out = append(out, secretsprovider.FromMap(s.secrets))
	}
	if len(s.r.SSH) > 0 {
		confs := make([]sshprovider.AgentConfig, len(s.r.SSH))
		for i, a := range s.r.SSH {
			confs[i] = sshprovider.AgentConfig{ID: a.ID, Paths: slices.Clone(a.Paths)}
		}
		agent, err := sshprovider.NewSSHAgentProvider(confs)
		if err != nil {
			return nil, hint.With(fmt.Errorf("reading the ssh agent: %w", err), "write --ssh default, --ssh id=socket or --ssh id=keyfile")
		}
		out = append(out, agent)
	}
	return out, nil
}

// sharedKey lets BuildKit start from the context it received last time and
// transfer only what changed. Agents check out the same repository at different
// places, so where a name is known it counts and not the path. What a fork
// transferred, only that fork starts from.
func (s *solver) sharedKey() string {
	key := s.r.Cache.Name
	if key == "" {
		host, err := os.Hostname()
		if err != nil {
			host = ""
		}
		key = host
		if abs, err := filepath.Abs(s.r.Context); err == nil {
			key += "\x00" + abs
		}
	} else {
		key += "\x00" + filepath.Base(s.r.Context)
	}
	if s.r.Cache.Fork != "" {
		key += "\x00fork\x00" + s.r.Cache.Fork
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// dockerfileName is how errors name the Dockerfile: as the user wrote it.
func (s *solver) dockerfileName() string {
	if s.r.remote() && !filepath.IsAbs(s.r.Dockerfile) || s.r.DockerfileText != nil {
		return ""
	}
	return s.r.Dockerfile
}

// exports returns the exporters of the image solve.
func (s *solver) exports() ([]client.ExportEntry, error) {
	export := s.whole
	if s.merger != nil {
		export = func() ([]client.ExportEntry, error) { return s.merger.exports(s.number) }
	}
	out, err := export()
	if err != nil {
		return nil, err
	}
	for i, e := range out {
		out[i].Output = s.noticed(e.Output)
	}
	annotate(out, s.annotations, s.wanted, s.merger != nil)
	return out, nil
}

// whole returns the exporters of an image that one node builds all of.
func (s *solver) whole() ([]client.ExportEntry, error) {
	named, err := s.r.references()
	if err != nil {
		return nil, err
	}
	names := make([]string, len(named))
	for i, n := range named {
		names[i] = n.String()
	}
	all := strings.Join(names, ",")
	var out []client.ExportEntry
	if s.r.Push {
		out = append(out, pushes(named, s.r.Insecure, s.r.PushAttrs)...)
	}
	if s.r.Layout != "" {
		if err := os.MkdirAll(s.r.Layout, 0o755); err != nil { //nolint:gosec // image content is no secret, and other users load it
			return nil, fmt.Errorf("keeping the image: %w", err)
		}
		store, err := local.NewStore(s.r.Layout)
		if err != nil {
			return nil, fmt.Errorf("keeping the image: %w", err)
		}
		attrs := map[string]string{"tar": "false", "name": all, "oci-mediatypes": "true"}
		maps.Copy(attrs, s.r.form()) // or the one digest that BuildKit answers may be another's
		out = append(out, client.ExportEntry{Type: client.ExporterOCI, OutputStore: store, Attrs: attrs})
	}
	if s.r.Load != nil {
		out = append(out, client.ExportEntry{
			Type:   client.ExporterDocker,
			Attrs:  map[string]string{"name": all},
			Output: func(map[string]string) (io.WriteCloser, error) { return s.r.Load() },
		})
	}
	for _, o := range s.r.Outputs {
		e, err := o.entry(all)
		if err != nil {
			return nil, err
		}
		if e.Type != "cacheonly" {
			out = append(out, e)
		}
	}
	if len(out) == 0 && len(names) > 0 && len(s.r.Outputs) == 0 {
		// Nobody takes the image, but its digest is still worth knowing: an image
		// exporter without push computes it and leaves nothing behind.
		out = append(out, client.ExportEntry{Type: client.ExporterImage, Attrs: map[string]string{"name": all, "oci-mediatypes": "true", "store": "false"}})
	}
	return out, nil
}

// pushes returns one exporter for the registries with TLS and one for those
// without, because BuildKit knows the difference per exporter only. They have the
// settings more beside.
func pushes(named []reference.Named, insecure []string, more map[string]string) []client.ExportEntry {
	groups := make(map[bool][]string)
	for _, n := range named {
		plain := slices.Contains(insecure, reference.Domain(n))
		groups[plain] = append(groups[plain], n.String())
	}
	var out []client.ExportEntry
	for _, plain := range []bool{false, true} {
		if len(groups[plain]) == 0 {
			continue
		}
		attrs := map[string]string{"oci-mediatypes": "true"}
		maps.Copy(attrs, more)
		attrs["name"], attrs["push"] = strings.Join(groups[plain], ","), "true"
		if plain {
			attrs["registry.insecure"] = "true"
		}
		out = append(out, client.ExportEntry{Type: client.ExporterImage, Attrs: attrs})
	}
	return out
}

// entry turns an output into BuildKit's exporter.
func (o Output) entry(names string) (client.ExportEntry, error) {
	e := client.ExportEntry{Type: o.Type, Attrs: maps.Clone(o.Attrs)}
	if e.Attrs == nil {
		e.Attrs = make(map[string]string)
	}
	if _, named := e.Attrs["name"]; !named && names != "" && o.Type != client.ExporterLocal && o.Type != client.ExporterTar {
		e.Attrs["name"] = names
	}
	switch {
	case o.Type == client.ExporterImage || o.Type == "cacheonly":
	case o.Type == client.ExporterLocal || o.IsStore():
		e.OutputDir = o.Dest
	default:
		e.Output = o.open
	}
	return e, nil
}

// open is called by BuildKit when the first bytes of an archive are there.
func (o Output) open(map[string]string) (io.WriteCloser, error) {
	if o.Dest == "-" {
		return nopCloser{o.Stdout}, nil
	}
	if o.Create != nil {
		f, err := o.Create(o.Dest)
		if err != nil {
			return nil, fmt.Errorf("writing the output: %w", err)
		}
		return f, nil
	}
	if err := os.MkdirAll(filepath.Dir(o.Dest), 0o755); err != nil { //nolint:gosec // as docker makes it
		return nil, fmt.Errorf("writing %s: %w", o.Dest, err)
	}
	f, err := os.Create(o.Dest)
	if err != nil {
		return nil, fmt.Errorf("writing the output: %w", err)
	}
	return f, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

var _ filesync.FileOutputFunc = Output{}.open
