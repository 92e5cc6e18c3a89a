// Package imagename knows the names of images in full.
package imagename

import (
	"fmt"

	"github.com/distribution/reference"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Full returns an image name in full, as `docker` completes it: with its registry
// and a tag.
func Full(name string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, hint.With(fmt.Errorf("%q is no image name: %w", name, err), "use [registry/]repository[:tag] in lower case")
	}
	return reference.TagNameOnly(named), nil
}
