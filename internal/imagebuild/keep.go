package imagebuild

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/internal/imagelayout"
)

// keep enters a built image in the request's layout.
func (s *solver) keep(ctx context.Context, response map[string]string) error {
	if s.r.Layout == "" {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(response[exptypes.ExporterImageDescriptorKey])
	if err != nil {
		return fmt.Errorf("keeping the image: %w", err)
	}
	var d ocispecs.Descriptor
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("keeping the image: %w", err)
	}
	named, err := s.r.references()
	if err != nil {
		return err
	}
	names := make([]string, len(named))
	for i, n := range named {
		names[i] = n.String()
	}
	d.Annotations = nil
	return imagelayout.Layout{Dir: s.r.Layout}.Put(ctx, d, names...)
}
