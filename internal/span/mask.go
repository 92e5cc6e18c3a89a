package span

import "context"

// Mask returns text with all that must not be shown replaced.
type Mask func(text string) string

type maskKey struct{}

// WithMask returns a context all of whose spans, and those below them, pass their
// texts through mask before they leave the process. It is called concurrently.
func WithMask(ctx context.Context, mask Mask) context.Context {
	return context.WithValue(ctx, maskKey{}, mask)
}

// MaskOf returns the mask of ctx; nil when it has none.
func MaskOf(ctx context.Context) Mask {
	mask, _ := ctx.Value(maskKey{}).(Mask)
	return mask
}
