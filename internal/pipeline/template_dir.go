package pipeline

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Templates returns a [Source.Open] that finds the templates of the pipeline's own
// repository in self, and those of no other. Give it the file system of an [os.Root],
// which keeps links inside.
func Templates(self fs.FS) func(repository, name string) ([]byte, error) {
	return func(repository, name string) ([]byte, error) {
		if repository != "self" {
			return nil, hint.With(fmt.Errorf("the repository '%s' is not here", repository),
				"copy the template into the repository of the pipeline and name it without @%s", repository)
		}
		found, err := fs.Stat(self, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, errors.New("it is not in the repository")
		case err != nil:
			return nil, fmt.Errorf("looking it up: %w", reason(err))
		case !found.Mode().IsRegular(): // a pipe would be waited for
			return nil, errors.New("it is not a file")
		case found.Size() > maxFileBytes:
			return nil, errors.New("Maximum object size exceeded") //nolint:staticcheck // the service's own sentence
		}
		content, err := fs.ReadFile(self, name)
		if err != nil {
			return nil, fmt.Errorf("reading it: %w", reason(err))
		}
		return content, nil
	}
}

// reason leaves the path away, which the message around it has.
func reason(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
