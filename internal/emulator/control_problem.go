package emulator

import (
	"errors"
	"net/http"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/pipeline"
)

// problem is one mistake in what was queued. Line and column are 1-based and
// missing, as the file is, for a mistake that is in no place of it.
type problem struct {
	File    string   `json:"file,omitempty"`
	Line    int      `json:"line,omitempty"`
	Column  int      `json:"column,omitempty"`
	Message string   `json:"message"`
	Hints   []string `json:"hints,omitempty"`
}

// refuseQueued answers a job or pipeline that cannot be queued: the error envelope
// with one entry of errors for every mistake.
func refuseQueued(err error) error {
	r := &refusal{status: http.StatusBadRequest, key: "VssRequestContentException", message: err.Error()}
	for _, one := range separate(err) {
		p := problem{Message: one.Error(), Hints: hint.All(one)}
		if at, ok := errors.AsType[*pipeline.Error](one); ok {
			p.File, p.Line, p.Column, p.Message = at.File, at.Line, at.Column, at.Message
		}
		r.problems = append(r.problems, p)
	}
	return r
}

// separate returns the errors that err joins, however it is wrapped, or err itself
// when it joins none.
func separate(err error) []error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		joined, ok := inner.(interface{ Unwrap() []error })
		if !ok || errors.Join(joined.Unwrap()...).Error() != inner.Error() {
			continue
		}
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, separate(one)...)
		}
		return all
	}
	return []error{err}
}
