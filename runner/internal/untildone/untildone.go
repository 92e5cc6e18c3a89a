// Package untildone knows how to end the reading of a long file with a context: a
// file itself has never heard of one.
package untildone

import (
	"context"
	"io"
)

// Reader returns a reader of from that fails with the cause of ctx once that has
// ended. It serves one call, and is as safe for concurrent use as from is.
func Reader(ctx context.Context, from io.Reader) io.Reader { return &reader{ctx, from} }

type reader struct {
	ctx  context.Context //nolint:containedctx // of the call that reads
	from io.Reader
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.from.Read(p)
}
