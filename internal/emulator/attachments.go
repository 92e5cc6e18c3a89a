package emulator

import (
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/statuspage"
)

// attachment is a file on a record (§7.7).
type attachment struct {
	kind, name string
	timeline   job.TimelineID
	record     job.RecordID
	job        *request
	created    time.Time
	file       *appendFile
	shown      *statuspage.Build // on the status page; nil: it is no report of a build
}

type attachmentWire struct {
	Type          string         `json:"type"`
	Name          string         `json:"name"`
	TimelineID    job.TimelineID `json:"timelineId"`
	RecordID      job.RecordID   `json:"recordId"`
	CreatedOn     job.Time       `json:"createdOn"`
	LastChangedOn job.Time       `json:"lastChangedOn"`
	LastChangedBy string         `json:"lastChangedBy"`
	Links         map[string]any `json:"_links"`
}

func (a *attachment) wire(c *call) attachmentWire {
	href := base(c.r) + c.r.URL.EscapedPath()
	return attachmentWire{
		Type: a.kind, Name: a.name, TimelineID: a.timeline, RecordID: a.record, CreatedOn: job.At(a.created), LastChangedOn: job.At(a.created),
		LastChangedBy: zeroGUID, Links: map[string]any{"self": map[string]string{"href": href}},
	}
}

// fileName reports whether text is a valid file name, as type and name must be.
func fileName(text string) bool {
	return text != "" && text != "." && text != ".." && !strings.ContainsAny(text, "/\\\x00:*?\"<>|")
}

// putAttachment stores a file; one of the same type and name is replaced.
func (s *Server) putAttachment(c *call) (any, error) {
	if !fileName(c.v("type")) || !fileName(c.v("name")) {
		return nil, badRequest("Type %q and name %q of an attachment must be file names (§7.7).", c.v("type"), c.v("name"))
	}
	a, err := s.newAttachment(c)
	if err != nil {
		return nil, err
	}
	size, _, err := c.upload(a.file, c.stored())
	if err != nil {
		return nil, err
	}
	if err := a.file.pause(); err != nil {
		return nil, err
	}
	if a.kind == job.AttachmentBuild && size <= statuspage.MostReport {
		a.shown = a.build(s.log)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := a.job.plan.attachments[:0]
	for _, old := range a.job.plan.attachments {
		if old.kind != a.kind || old.name != a.name || old.record != a.record {
			kept = append(kept, old)
		}
	}
	a.job.plan.attachments = append(kept, a)
	return a.wire(c), nil
}

// build reads what the status page shows of the report of a build: once, for the
// page asks every second. Nil is something else.
func (a *attachment) build(log *slog.Logger) *statuspage.Build {
	content, err := a.content()
	if err == nil {
		var b statuspage.Build
		if b, err = statuspage.ReadBuild(content); err == nil {
			return &b
		}
	}
	log.Debug("an attachment is no report of a build", "job_id", string(a.job.job), "name", a.name, "err", err)
	return nil
}

func (s *Server) newAttachment(c *call) (*attachment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, q, err := s.started(c)
	if err != nil {
		return nil, err
	}
	t, err := p.timelineOf(c.v("timelineId"))
	if err != nil {
		return nil, err
	}
	id := job.RecordID(guid(c.v("recordId")))
	r := t.records[id]
	switch {
	case r == nil:
		return nil, recordNotFound(c.v("recordId"))
	case r.job != q:
		return nil, planForbidden("The record %s belongs to another job.", id)
	}
	a := &attachment{kind: c.v("type"), name: c.v("name"), timeline: t.id, record: id, job: q, created: s.now()}
	a.file = &appendFile{path: filepath.Join(s.dir, "attachments", string(p.id), newGUID())}
	c.note = a.kind + "/" + a.name
	return a, nil
}

// getAttachments lists the attachments of a type, of one record or of the whole
// plan, or answers the content of one.
func (s *Server) getAttachments(c *call) (any, error) {
	s.mu.Lock()
	p, _, err := s.planOf(c)
	var found []*attachment
	if err == nil {
		for _, a := range p.attachments {
			ofRecord := c.v("recordId") == "" || a.record == job.RecordID(guid(c.v("recordId")))
			named := c.v("name") == "" || a.name == c.v("name")
			if ofRecord && named && strings.EqualFold(a.kind, c.v("type")) {
				found = append(found, a)
			}
		}
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if c.v("name") != "" && len(found) == 1 {
		body, err := found[0].content()
		if err != nil {
			return nil, err
		}
		return raw{"application/octet-stream", body}, nil
	}
	out := []attachmentWire{}
	for _, a := range found {
		out = append(out, a.wire(c))
	}
	return listOf(out), nil
}

func (a *attachment) content() ([]byte, error) {
	file, err := a.file.read()
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read from
	return io.ReadAll(file)
}
