package imagebuild

import (
	"context"
	"fmt"

	"github.com/dockless-ci/dockless/internal/imagelayout"
)

// keep enters the image that one node built in the request's layout.
func (s *solver) keep(ctx context.Context) error {
	if s.r.Layout == "" {
		return nil
	}
	d, err := descriptor(s.response)
	if err != nil {
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
