package untildone_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/runner/internal/untildone"
)

func TestReadingEndsWithItsContext(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	from := untildone.Reader(ctx, strings.NewReader("text"))
	first := make([]byte, 2)
	if _, err := io.ReadFull(from, first); err != nil || string(first) != "te" {
		t.Errorf("read %q, %v", first, err)
	}
	cancel(gone)
	if _, err := io.ReadAll(from); !errors.Is(err, gone) {
		t.Errorf("after the end: %v, want the cause", err)
	}
}
