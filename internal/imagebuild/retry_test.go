package imagebuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestOnlyALostConnectionIsTriedElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"a connection that broke":          {fmt.Errorf("failed to receive status: %w", status.Error(codes.Unavailable, "error reading from server: EOF")), true},
		"a buildkitd told to end":          {status.Error(codes.Canceled, "context canceled"), true},
		"a client that is closing":         {status.Error(codes.Canceled, "grpc: the client connection is closing"), true},
		"an end in the middle":             {fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), true},
		"a reset connection":               {&testError{syscall.ECONNRESET}, true},
		"a step that failed":               {status.Error(codes.Unknown, `process "/bin/sh -c exit 7" did not complete successfully: exit code: 7`), false},
		"a step killed with its buildkitd": {status.Error(codes.Unavailable, `process "/bin/sh" did not complete successfully: context canceled`), false},
		"a registry that refuses":          {status.Error(codes.Unknown, "failed to push x: unexpected status from HEAD request: 403 Forbidden"), false},
		"a registry that hangs up":         {status.Error(codes.Unknown, "failed to do request: read: connection reset by peer"), false},
		"a place in the Dockerfile":        {errdefs.WithSource(status.Error(codes.Unavailable, "x"), &errdefs.Source{Info: &pb.SourceInfo{}}), false},
		"a refusal of ours":                {errors.New("the disk of the node is full"), false},
		"no error":                         {nil, false},
	} {
		if got := isTransport(test.err); got != test.want {
			t.Errorf("%s: isTransport(%v) = %v, want %v", name, test.err, got, test.want)
		}
	}
}

type testError struct{ err error }

func (e *testError) Error() string { return e.err.Error() }
func (e *testError) Unwrap() error { return e.err }

func TestStepsOfALostNodeAreShownAsEnded(t *testing.T) {
	var shown bytes.Buffer
	d, err := Progress{Mode: "plain", Out: &shown}.start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	first, second := &view{display: d, prefix: "linux/arm64", salt: "1"}, &view{display: d, prefix: "linux/arm64", salt: "2"}
	step := &client.Vertex{Digest: digest.FromString("step"), Name: "[linux/arm64 build 2/2] RUN make", Started: &now}
	other := &client.Vertex{Digest: digest.FromString("context"), Name: "[internal] load build context", Started: &now, Completed: &now}
	first.show(&client.SolveStatus{Vertexes: []*client.Vertex{step, other}})
	first.show(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: step.Digest, Stream: 1, Data: []byte("making\n"), Timestamp: now}}})
	first.abandon("node n0 was lost")
	again := *step
	again.Completed = &now
	second.show(&client.SolveStatus{Vertexes: []*client.Vertex{step}})
	second.show(&client.SolveStatus{Vertexes: []*client.Vertex{&again}})
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if step.Name != "[linux/arm64 build 2/2] RUN make" || step.Digest != digest.FromString("step") || step.Completed != nil {
		t.Errorf("what BuildKit sent was changed: %+v", step)
	}
	for want, times := range map[string]int{
		"[linux/arm64 build 2/2] RUN make\n":          2,
		"[linux/arm64 internal] load build context\n": 1,
		"ERROR: node n0 was lost\n":                   1,
		"making\n":                                    1,
	} {
		if got := strings.Count(shown.String(), want); got < times || got > times+1 { // a name is told again after others
			t.Errorf("%q is shown %d times, want %d:\n%s", want, got, times, shown.String())
		}
	}
	if len(first.open)+len(second.open) > 0 {
		t.Errorf("still open: %v, %v", first.open, second.open)
	}
}
