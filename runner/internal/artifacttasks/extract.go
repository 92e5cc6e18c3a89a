package artifacttasks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/runner/internal/match"
	"github.com/dockless-ci/dockless/runner/internal/tartree"
)

// extractTars unpacks every archive that was downloaded, where it lies, and removes
// it: StoreAsTar packed it to keep modes and links.
func (f *fetching) extractTars(ctx context.Context) error {
	found, err := match.Find(ctx, f.dir, []string{"**/*.tar"}, match.Options{})
	if err != nil {
		return fmt.Errorf("looking for archives: %w", err)
	}
	for _, archive := range found {
		if info, err := os.Lstat(archive); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := f.extract(ctx, archive); err != nil {
			return fmt.Errorf("extracting %s: %w", archive, err)
		}
		f.step.Print("Extracted " + strings.TrimPrefix(archive, f.dir+"/") + ".")
	}
	return nil
}

func (f *fetching) extract(ctx context.Context, archive string) error {
	dir, err := f.step.Target(f.input, filepath.Dir(archive))
	if err != nil {
		return err
	}
	from, err := f.step.Open(archive)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	if err := tartree.Unpack(ctx, from, dir, tartree.Limits{}); err != nil {
		return err
	}
	return os.Remove(archive)
}
