package emulator

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// storedLog is one uploaded page (§7.6).
type storedLog struct {
	id      int
	path    string // as the agent named it: logs\<record id>
	job     *request
	created time.Time
	changed time.Time
	size    int64
	lines   int64
	file    *appendFile
	index   lineIndex
}

type logWire struct {
	ID            int      `json:"id"`
	Path          string   `json:"path"`
	Location      string   `json:"location"`
	IndexLocation *string  `json:"indexLocation"`
	LineCount     int64    `json:"lineCount"`
	CreatedOn     job.Time `json:"createdOn"`
	LastChangedOn job.Time `json:"lastChangedOn"`
}

// logNotFound has no key of its own in §1.8.
func logNotFound(id string) error {
	return refuse(http.StatusNotFound, "TaskLogNotFoundException", "There is no log %s in this plan.", id)
}

func (l *storedLog) wire(c *call) logWire {
	prefix, _, _ := strings.Cut(c.r.URL.Path, "/logs")
	return logWire{
		ID: l.id, Path: l.path, Location: base(c.r) + prefix + "/logs/" + strconv.Itoa(l.id), LineCount: l.lines,
		CreatedOn: job.At(l.created), LastChangedOn: job.At(l.changed),
	}
}

// record is the record whose log this is, by the path.
func (l *storedLog) record() job.RecordID {
	i := strings.LastIndexAny(l.path, `\/`)
	return job.RecordID(guid(l.path[i+1:]))
}

// postLog creates a log, or appends a page to one (§7.6).
func (s *Server) postLog(c *call) (any, error) {
	if c.v("logId") != "" {
		return s.appendLog(c)
	}
	var in struct {
		Path string `json:"path"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, q, err := s.started(c)
	if err != nil {
		return nil, err
	}
	now := s.now()
	l := &storedLog{id: s.nextLog, path: in.Path, job: q, created: now, changed: now}
	l.file = &appendFile{path: filepath.Join(s.dir, "logs", string(p.id), strconv.Itoa(l.id)+".log")}
	if !strings.HasPrefix(in.Path, `logs\`) {
		s.violate(q, "§7.6", false, `log path %q does not start with logs\`, in.Path)
	}
	s.nextLog++
	p.logs[l.id] = l
	return l.wire(c), nil
}

func (s *Server) appendLog(c *call) (any, error) {
	if !c.sends("application/octet-stream") {
		return nil, refuse(http.StatusUnsupportedMediaType, "VssRequestContentException", "A log page is application/octet-stream (§7.6).")
	}
	l, err := s.ownLog(c)
	if err != nil {
		return nil, err
	}
	start := bufio.NewReader(c.stored())
	head, _ := start.Peek(len(bom) + stampLength) // a short page is judged by what it has
	size, lines, err := c.upload(l.file, start)
	if err = errors.Join(err, l.file.pause()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.size == 0 && size > 0 && stamped(head) == 0 {
		s.violate(l.job, "§7.6", false, "log %d does not start with a UTC time stamp of seven digits", l.id)
	}
	l.size, l.lines, l.changed = l.size+size, l.lines+lines, s.now()
	return l.wire(c), nil
}

func (s *Server) ownLog(c *call) (*storedLog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, q, err := s.started(c)
	if err != nil {
		return nil, err
	}
	id, err := strconv.Atoi(c.v("logId"))
	l := p.logs[id]
	switch {
	case err != nil || l == nil:
		return nil, logNotFound(c.v("logId"))
	case l.job != q:
		return nil, planForbidden("The log %d belongs to another job.", id)
	}
	return l, nil
}

// getLogs lists the logs of a plan, or answers the lines of one.
func (s *Server) getLogs(c *call) (any, error) {
	l, all, err := s.findLog(c)
	if err != nil || l == nil {
		return all, err
	}
	start, end := 1, -1
	for name, to := range map[string]*int{"startLine": &start, "endLine": &end} {
		if text := c.q(name); text != "" {
			if *to, err = strconv.Atoi(text); err != nil {
				return nil, badRequest("%s %q is no number.", name, text)
			}
		}
	}
	lines := []string{}
	n := 0
	err = l.each(func(line string) error {
		n++
		if n >= start && (end < 0 || n <= end) {
			lines = append(lines, line)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if c.wants("text/plain") {
		return raw{"text/plain; charset=utf-8", []byte(strings.Join(append(lines, ""), "\n"))}, nil
	}
	return listOf(lines), nil
}

func (s *Server) findLog(c *call) (*storedLog, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, _, err := s.planOf(c)
	if err != nil {
		return nil, nil, err
	}
	if text := c.v("logId"); text != "" {
		id, err := strconv.Atoi(text)
		if err != nil || p.logs[id] == nil {
			return nil, nil, logNotFound(text)
		}
		return p.logs[id], nil, nil
	}
	out := []logWire{}
	for _, l := range p.sortedLogs() {
		out = append(out, l.wire(c))
	}
	return nil, listOf(out), nil
}

func (p *plan) sortedLogs() []*storedLog {
	var out []*storedLog
	for _, l := range p.logs {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b *storedLog) int { return a.id - b.id })
	return out
}

// each calls yield with every line, without its end and without a byte order
// mark, until yield fails.
func (l *storedLog) each(yield func(string) error) (err error) {
	file, err := l.file.read()
	if err != nil {
		return fmt.Errorf("reading log %d: %w", l.id, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	from := bufio.NewReaderSize(file, 64<<10)
	for first := true; ; first = false {
		line, err := from.ReadString('\n')
		if line == "" && errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading log %d: %w", l.id, err)
		}
		if first {
			line = strings.TrimPrefix(line, bom)
		}
		if err := yield(strings.TrimRight(line, "\r\n")); err != nil {
			return err
		}
	}
}

const bom = "\xef\xbb\xbf"

// stampLength is the length of "2026-08-22T09:11:07.4021930Z " (§7.6).
const stampLength = 29

// stamped returns the length of the time stamp at the start of a log line,
// with the byte order mark before it, or 0 when there is none.
func stamped[T string | []byte](line T) int {
	start := 0
	if len(line) >= len(bom) && string(line[:len(bom)]) == bom {
		start = len(bom)
	}
	if len(line) < start+stampLength {
		return 0
	}
	const form = "0000-00-00T00:00:00.0000000Z "
	for i := range stampLength {
		b := line[start+i]
		if form[i] == '0' && (b < '0' || b > '9') || form[i] != '0' && b != form[i] {
			return 0
		}
	}
	return start + stampLength
}
