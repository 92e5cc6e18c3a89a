package hint_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
)

func TestHintsAreFoundThroughWrappingAndJoining(t *testing.T) {
	inner := hint.With(errors.New("no pool"), "set %s to an existing pool", "AZP_POOL")
	other := hint.With(errors.New("no token"), "set AZP_TOKEN")
	err := hint.With(fmt.Errorf("registering: %w", errors.Join(inner, other, inner)), "run dockless doctor")

	want := []string{"run dockless doctor", "set AZP_POOL to an existing pool", "set AZP_TOKEN"}
	if diff := cmp.Diff(want, hint.All(err)); diff != "" {
		t.Errorf("All(err) mismatch (-want +got):\n%s", diff)
	}
	if got, want := inner.Error(), "no pool"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

func TestNilStaysNil(t *testing.T) {
	if err := hint.With(nil, "anything"); err != nil {
		t.Errorf("With(nil) = %v, want nil", err)
	}
	if got := hint.All(nil); got != nil {
		t.Errorf("All(nil) = %v, want nil", got)
	}
}
