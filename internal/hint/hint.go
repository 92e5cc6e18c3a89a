// Package hint knows how to attach advice for the operator to an error. The
// package that knows the remedy calls [With]; only cmd/dockless prints what
// [All] finds, as "hint:" lines below the "error:" line.
package hint

import "fmt"

type hinted struct {
	err  error
	text string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// With returns err with advice attached. The text of the error does not change.
// A nil err stays nil. The advice is one sentence without a full stop that says
// what to do and names the setting, for example "set AZP_POOL to an existing pool".
func With(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err: err, text: fmt.Sprintf(format, args...)}
}

// All returns the advice attached anywhere in err's tree, outermost first and
// each text once. It returns nil for an error without advice.
func All(err error) []string {
	var texts []string
	seen := make(map[string]bool)
	var walk func(error)
	walk = func(err error) {
		if err == nil {
			return
		}
		if h, ok := err.(*hinted); ok && !seen[h.text] { //nolint:errorlint // the walk visits every error of the tree itself
			seen[h.text] = true
			texts = append(texts, h.text)
		}
		switch u := err.(type) { //nolint:errorlint // as above
		case interface{ Unwrap() error }:
			walk(u.Unwrap())
		case interface{ Unwrap() []error }:
			for _, e := range u.Unwrap() {
				walk(e)
			}
		}
	}
	walk(err)
	return texts
}
