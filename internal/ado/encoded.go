package ado

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"io"

	"github.com/dockless-ci/dockless/internal/job"
)

// repeatable is a body that knows its length and can be read again, besides those
// that net/http knows.
type repeatable interface {
	io.ReadCloser
	length() int
	again() io.ReadCloser
}

// encodedFile is the body that attaches a file to a test run: JSON with the
// content in base64. It is encoded as it is sent, so that a file of 75 MB is in
// memory once.
type encodedFile struct {
	io.Reader
	head, content []byte
}

const encodedTail = `"}`

func newEncodedFile(a job.TestAttachment, name string, content []byte) *encodedFile {
	head, err := json.Marshal(struct {
		Type    string `json:"attachmentType"`
		Name    string `json:"fileName"`
		Comment string `json:"comment"`
		Stream  string `json:"stream"`
	}{cmp.Or(a.Kind, "GeneralAttachment"), name, a.Comment, ""})
	if err != nil {
		panic("ado: strings cannot be encoded") // they always can
	}
	f := &encodedFile{head: bytes.TrimSuffix(head, []byte(encodedTail)), content: content}
	f.rewind()
	return f
}

func (f *encodedFile) rewind() {
	f.Reader = io.MultiReader(bytes.NewReader(f.head), &encoder{rest: f.content}, bytes.NewReader([]byte(encodedTail)))
}

func (f *encodedFile) length() int {
	return len(f.head) + base64.StdEncoding.EncodedLen(len(f.content)) + len(encodedTail)
}

func (f *encodedFile) again() io.ReadCloser {
	g := &encodedFile{head: f.head, content: f.content}
	g.rewind()
	return g
}

// Close implements io.Closer.
func (*encodedFile) Close() error { return nil }

// encoder reads bytes in base64.
type encoder struct{ rest, encoded []byte }

func (e *encoder) Read(p []byte) (int, error) {
	if len(e.encoded) == 0 {
		if len(e.rest) == 0 {
			return 0, io.EOF
		}
		piece := e.rest[:min(len(e.rest), 24<<10)] // of a length that divides by three, except the last
		e.rest = e.rest[len(piece):]
		e.encoded = base64.StdEncoding.AppendEncode(e.encoded[:0], piece)
	}
	n := copy(p, e.encoded)
	e.encoded = e.encoded[n:]
	return n, nil
}
