package emulator

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/dockless-ci/dockless/internal/job"
)

// Limits of one feed call (§7.5).
const (
	maxFeedLines = 100
	maxFeedLine  = 1024 + len("...")
)

// FeedLine is one live line as a user sees it.
type FeedLine struct {
	Step job.RecordID `json:"step"`
	Line int64        `json:"line"` // 1-based within the step; 0 when the agent did not say
	Text string       `json:"text"`
}

type feedWire struct {
	Count     *int          `json:"count"`
	Value     []string      `json:"value"`
	StepID    *job.RecordID `json:"stepId"`
	StartLine *int64        `json:"startLine"`
}

// postFeed takes live lines (§7.5). Wrong batches are kept and reported as
// violations instead of being refused, because a server ignores feed errors too.
func (s *Server) postFeed(c *call) (any, error) {
	var in feedWire
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	q, err := s.checkFeed(c, &in)
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	for i, text := range in.Value {
		line := FeedLine{Step: value(in.StepID), Text: text}
		if in.StartLine != nil {
			line.Line = *in.StartLine + int64(i)
		}
		if err := enc.Encode(line); err != nil {
			return nil, fmt.Errorf("writing the feed: %w", err)
		}
	}
	if _, _, err := q.feed.append(&body); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.StepID != nil {
		q.follow(&in)
	}
	q.notify()
	return nil, nil
}

// checkFeed judges a batch and returns its job.
func (s *Server) checkFeed(c *call, in *feedWire) (*request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, q, err := s.started(c)
	if err != nil {
		return nil, err
	}
	if _, err := p.timelineOf(c.v("timelineId")); err != nil {
		return nil, err
	}
	if job.RecordID(guid(c.v("recordId"))) != q.job.Record() {
		return nil, s.wrongOrder(q, "§7.5", "the feed was posted to record %s; the route takes the job's record, the step goes into stepId", c.v("recordId"))
	}
	if in.Count == nil || *in.Count != len(in.Value) {
		return nil, badRequest("count and value of the feed differ (§7.5).")
	}
	if in.StepID == nil {
		s.violate(q, "§7.5", false, "feed lines without a stepId")
		return q, nil
	}
	step := job.RecordID(guid(string(*in.StepID)))
	if step == "" {
		return nil, badRequest("The stepId %q is no GUID (§7.5).", *in.StepID)
	}
	// The step's record may come later: feed and records are separate queues.
	in.StepID = &step
	s.checkLines(q, in)
	return q, nil
}

// checkLines notes what is wrong with the lines of a batch.
func (s *Server) checkLines(q *request, in *feedWire) {
	if len(in.Value) > maxFeedLines {
		s.violate(q, "§7.5", false, "%d feed lines in one call, want at most %d", len(in.Value), maxFeedLines)
	}
	for _, line := range in.Value {
		if utf8.RuneCountInString(line) > maxFeedLine || strings.ContainsAny(line, "\r\n") {
			s.violate(q, "§7.5", false, "a feed line of step %s has %d characters or a line break", *in.StepID, utf8.RuneCountInString(line))
			break
		}
	}
	next := max(q.feedNext[*in.StepID], 1)
	start := next // older contracts have no startLine
	if in.StartLine != nil {
		start = int(*in.StartLine)
	}
	if start < next {
		s.violate(q, "§7.5", false, "feed lines of step %s start at %d, want at least %d", *in.StepID, start, next)
	}
	q.feedNext[*in.StepID] = max(next, start+len(in.Value))
}

// Feed returns the live lines of a job in the order in which they arrived. It
// returns nil for a job that does not exist.
func (s *Server) Feed(id job.ID) ([]FeedLine, error) {
	q := s.find(id)
	if q == nil {
		return nil, nil
	}
	file, err := q.feed.read()
	if err != nil {
		return nil, fmt.Errorf("reading the feed of job %s: %w", id, err)
	}
	lines, err := readFeed(bufio.NewReader(file))
	return lines, errors.Join(err, file.Close())
}

// readFeed reads whole lines until the end.
func readFeed(from *bufio.Reader) ([]FeedLine, error) {
	var out []FeedLine
	for {
		text, err := from.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("reading the feed: %w", err)
		}
		var line FeedLine
		if err := json.Unmarshal(text, &line); err != nil {
			return out, fmt.Errorf("reading the feed: %w", err)
		}
		out = append(out, line)
	}
}
