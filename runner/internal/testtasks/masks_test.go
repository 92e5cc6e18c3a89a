package testtasks

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/runner/internal/testresults"
)

// outbox keeps everything that would leave the machine.
type outbox struct {
	said  []any
	files []string
}

func (o *outbox) take(files []job.TestAttachment) error {
	for _, f := range files {
		content, err := f.Content()
		if err != nil {
			return err
		}
		o.said = append(o.said, f.Name, f.Comment, f.Kind)
		o.files = append(o.files, string(content))
	}
	return nil
}

func (o *outbox) PublishTests(_ context.Context, run job.TestRun, results iter.Seq2[job.TestResult, error], files []job.TestAttachment) (job.TestReceipt, error) {
	for r, err := range results {
		if err != nil {
			return job.TestReceipt{}, err
		}
		if err := o.take(r.Attachments); err != nil {
			return job.TestReceipt{}, err
		}
		r.Attachments = nil
		o.said = append(o.said, r)
	}
	o.said = append(o.said, run)
	return job.TestReceipt{Failed: -1}, o.take(files)
}

func (o *outbox) PublishCoverage(_ context.Context, c job.Coverage) error {
	o.said = append(o.said, c)
	return nil
}

func hostOf(o *outbox, secret string) Host {
	masks := mask.NewSet()
	masks.Add(secret)
	return Host{
		Service: o, Open: os.Open, Mask: masks.Mask, MaskText: masks.MaskText, Masks: func(w io.Writer) io.WriteCloser { return masks.NewWriter(w) },
		Say: func(string) {}, Summarize: func(text string) { o.said = append(o.said, text) },
	}
}

func write(t *testing.T, file, content string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestNoSecretReachesTheServerInAnyFieldOrFile(t *testing.T) {
	const secret = "hunter22"
	dir := t.TempDir()
	const doc = `<testsuite name="hunter22" hostname="hunter22"><testcase name="é hunter22" classname="hunter22">` +
		`<failure message="hunter22">hunter22</failure><system-out>hunter22</system-out><system-err>hunter22</system-err></testcase></testsuite>`
	files := []string{write(t, filepath.Join(dir, "utf8-hunter22.xml"), doc)}
	for name, encode := range map[string]func(string) (string, error){
		"latin1.xml": charmap.ISO8859_1.NewEncoder().String,
		"utf16.xml":  unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String,
	} {
		text, err := encode(`<?xml version="1.0" encoding="` + map[string]string{"latin1.xml": "iso-8859-1", "utf16.xml": "utf-16"}[name] + `"?>` + doc)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, write(t, filepath.Join(dir, name), text))
	}
	var out outbox
	h := hostOf(&out, secret)
	p := Publication{
		Format: testresults.JUnit, Files: files, AttachFiles: true,
		Title: secret, Platform: secret, Configuration: secret, System: secret,
	}
	if err := p.Run(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	c := CoveragePublication{Files: []string{write(t, filepath.Join(dir, "c.xml"), `<coverage lines-covered="3" lines-valid="4"/>`)}, Platform: secret, Configuration: secret}
	if err := c.Run(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	said, err := json.Marshal(out.said)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(said), secret) || strings.Count(string(said), mask.Replacement) < 3*7+5 {
		t.Errorf("the server was told %s", said)
	}
	if len(out.files) != 3*3 {
		t.Errorf("%d files were attached, want two outputs and the file of each run", len(out.files))
	}
	for _, content := range out.files {
		plain := strings.ReplaceAll(content, "\x00", "") // of UTF-16
		if strings.Contains(plain, secret) || !strings.Contains(plain, mask.Replacement) {
			t.Errorf("attached: %q", content)
		}
	}
}
