package emulator

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// controlPrefix is where the calls of design §9 live. They carry no credential:
// whoever reaches an emulator owns it.
const controlPrefix = "/_emulator"

// serveControl answers the control calls.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) int {
	parts := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, controlPrefix), "/"), "/")
	if parts[0] == "faults" && len(parts) <= 2 {
		value, err := s.serveFaults(r, strings.Join(parts[1:], ""))
		return answer(w, value, err)
	}
	if r.Method == http.MethodPost && len(parts) == 1 && parts[0] == "tasks" {
		value, err := s.controlOffer(r)
		return answer(w, value, err)
	}
	if len(parts) > 3 || parts[0] != "jobs" {
		return answerError(w, refuse(http.StatusNotFound, "VssResourceNotFoundException", "There is no control call %s.", r.URL.Path))
	}
	parts = append(parts, "", "")[:3]
	var value any
	var err error
	switch route := r.Method + " " + parts[2]; {
	case parts[1] == "" && r.Method == http.MethodGet:
		value = ofRun(s.Jobs(), r.URL.Query().Get("run"))
	case parts[1] == "" && r.Method == http.MethodPost:
		value, err = s.controlQueue(r)
	case route == "GET ":
		value, err = s.Job(s.jobNamed(parts[1]))
	case route == "GET report":
		value, err = s.Report(s.jobNamed(parts[1]))
	case route == "GET tests":
		value, err = s.Tests(s.jobNamed(parts[1]))
	case route == "GET calls":
		value = s.Calls(s.jobNamed(parts[1]))
	case route == "GET feed":
		err = s.controlFeed(w, r, s.jobNamed(parts[1]))
		value = streamed{}
	case route == "GET log":
		value, err = streamed{}, s.controlLog(w, s.jobNamed(parts[1]), job.RecordID(guid(r.URL.Query().Get("record"))))
	case route == "POST cancel":
		value, err = s.controlCancel(s.jobNamed(parts[1]))
	default:
		err = refuse(http.StatusMethodNotAllowed, "VssRequestContentException", "There is no control call %s %s.", r.Method, r.URL.Path)
	}
	if errors.Is(err, ErrNoJob) {
		err = refuse(http.StatusNotFound, "TaskOrchestrationJobNotFoundException", "There is no job %s.", parts[1])
	}
	return answer(w, value, err)
}

// ofRun keeps the jobs of one run; without a number it keeps all.
func ofRun(all []Status, number string) []Status {
	return slices.DeleteFunc(all, func(st Status) bool { return number != "" && strconv.Itoa(st.Run) != number })
}

// jobNamed finds a job by its id or by the number of its request.
func (s *Server) jobNamed(text string) job.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.namedLocked(text)
}

// namedLocked is [Server.jobNamed] for a caller that holds s.mu.
func (s *Server) namedLocked(text string) job.ID {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if q := s.requests[job.RequestID(n)]; q != nil {
			return q.job
		}
	}
	return job.ID(guid(text))
}

func (s *Server) controlCancel(id job.ID) (any, error) {
	if _, err := s.Job(id); err != nil {
		return nil, err
	}
	if !s.Cancel(id) {
		return nil, refuse(http.StatusConflict, "TaskOrchestrationPlanTerminatedException", "The job %s has ended.", id)
	}
	return s.Job(id)
}

// controlQueue takes a job message as JSON or a pipeline as YAML.
func (s *Server) controlQueue(r *http.Request) (any, error) {
	body, err := readBody(r, maxJSON)
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	query := r.URL.Query()
	need := Requirements{Pool: query.Get("pool"), Demands: query["demand"]}
	var out Run
	switch kind {
	case "application/json":
		out, err = s.QueueJSON(body, need)
	case "application/yaml", "application/x-yaml", "text/yaml":
		out, err = s.QueuePipeline(r.Context(), body, pipelineQuery(query))
	default:
		return nil, refuse(http.StatusUnsupportedMediaType, "VssRequestContentException", "Send application/yaml or application/json, not %q.", kind)
	}
	if err != nil {
		return nil, refuseQueued(err)
	}
	return out, nil
}

// pipelineQuery reads param.k=v, var.k=v, secret.k=v, repo=PATH, file=NAME and
// pool=NAME.
func pipelineQuery(query url.Values) Pipeline {
	p := Pipeline{
		Pool: query.Get("pool"), Repo: query.Get("repo"), File: query.Get("file"),
		Parameters: map[string]string{}, Variables: map[string]job.Variable{},
	}
	for name, values := range query {
		kind, k, _ := strings.Cut(name, ".")
		switch last := values[len(values)-1]; kind {
		case "param":
			p.Parameters[k] = last
		case "var", "secret":
			p.Variables[k] = job.Variable{Value: last, IsSecret: kind == "secret"}
		}
	}
	return p
}

// controlFeed writes the live lines of a job: plain text, or JSON lines when
// the caller accepts application/x-ndjson. With follow=1 it goes on until the
// job has ended.
func (s *Server) controlFeed(w http.ResponseWriter, r *http.Request, id job.ID) (err error) {
	q := s.find(id)
	if q == nil {
		return ErrNoJob
	}
	lines := strings.Contains(r.Header.Get("Accept"), "ndjson")
	contentType := "text/plain; charset=utf-8"
	if lines {
		contentType = "application/x-ndjson"
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	follow := r.URL.Query().Get("follow") == "1" || r.URL.Query().Get("follow") == "true"
	tail := &feedTail{feed: q.feed}
	defer tail.close()
	for {
		s.mu.Lock()
		changed, done := q.changed, q.state == Completed
		s.mu.Unlock()
		if err := tail.copy(w, lines); err != nil {
			s.log.Debug("feed stream ended", "job_id", string(id), "err", err)
			return nil
		}
		if done || !follow {
			return nil
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return nil
		case <-s.closed:
			return nil
		}
	}
}

// controlLog writes the stored log of a record, the job's own when none is
// named, as plain text.
func (s *Server) controlLog(w http.ResponseWriter, id job.ID, record job.RecordID) error {
	if s.find(id) == nil {
		return ErrNoJob
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := bufio.NewWriter(w)
	err := s.EachLogLine(id, job.RecordID(cmp.Or(string(record), string(id))), func(line string) error {
		_, _ = out.WriteString(line) // the error stays until the next call
		return out.WriteByte('\n')
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		// The answer has begun; it can only end early.
		s.log.Debug("log stream ended", "job_id", string(id), "err", err)
	}
	return nil
}

// feedTail reads a growing feed from where it stopped.
type feedTail struct {
	feed *appendFile
	file io.ReadCloser
	from *bufio.Reader
	part []byte // of a line that was not written whole yet
}

func (t *feedTail) copy(w io.Writer, lines bool) error {
	if t.file == nil {
		file, err := os.Open(t.feed.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no line yet
		}
		if err != nil {
			return err
		}
		t.file, t.from = file, bufio.NewReader(file)
	}
	for {
		text, err := t.from.ReadBytes('\n')
		t.part = append(t.part, text...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out := t.part
		t.part = nil
		if !lines {
			var line FeedLine
			if err := json.Unmarshal(out, &line); err != nil {
				return fmt.Errorf("reading the feed: %w", err)
			}
			out = append([]byte(line.Text), '\n')
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
	}
}

func (t *feedTail) close() {
	if t.file != nil {
		_ = t.file.Close() // only read from
	}
}
