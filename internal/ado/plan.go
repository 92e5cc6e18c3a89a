package ado

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

// JobClient speaks with the token of one job: the records, the live lines, the
// logs and the end of its plan (protocol §7). Its methods may be called
// concurrently. Each makes one attempt: a [Reporter] repeats what is worth it.
// Requests that can wait hold back while the service asks its clients to slow
// down; the end of the job never does.
type JobClient struct {
	conn     *connection
	plan     PlanReference
	timeline job.TimelineID
	jobID    job.ID
	request  job.RequestID

	mu   sync.Mutex
	made map[job.TimelineID]bool // timelines of steps that exist
}

// NewJobClient returns a client for the job of m, entered with the token that m
// brought along. It does not connect.
func NewJobClient(m *job.Message, o Options) (*JobClient, error) {
	address, token := m.JobToken()
	if address == "" || token == "" {
		return nil, fmt.Errorf("job %s has no %s endpoint with a token", m.JobID, job.SystemConnection)
	}
	conn, err := newConnection(address, bearer{mask.NewSecret(token)}, o)
	if err != nil {
		return nil, fmt.Errorf("entering job %s: %w", m.JobID, err)
	}
	return &JobClient{
		conn:     conn,
		plan:     PlanReference{ScopeIdentifier: m.Plan.ScopeIdentifier, HubName: m.Plan.PlanType, PlanID: m.Plan.PlanID},
		timeline: m.Timeline.ID, jobID: m.JobID, request: m.RequestID,
	}, nil
}

// UpdateRecords changes records, or makes those that do not exist. All are of one
// timeline, which is made when it does not exist either.
func (c *JobClient) UpdateRecords(ctx context.Context, records []job.Record) error {
	timeline := c.timeline
	if len(records) > 0 && records[0].Timeline != "" {
		timeline = records[0].Timeline
		if err := c.ensureTimeline(ctx, timeline); err != nil {
			return err
		}
	}
	_, err := c.conn.do(patiently(ctx), call{
		method: http.MethodPatch, location: LocationRecords, version: versionPools,
		route: c.route("timelineId", string(timeline)), body: ListOf(records...),
	}, nil)
	if err != nil {
		return fmt.Errorf("updating %d records: %w", len(records), err)
	}
	return nil
}

// ensureTimeline makes the timeline of a step; one that exists is as good
// (protocol §7.4).
func (c *JobClient) ensureTimeline(ctx context.Context, id job.TimelineID) error {
	c.mu.Lock()
	made := c.made[id]
	c.mu.Unlock()
	if made {
		return nil
	}
	_, err := c.conn.do(patiently(ctx), call{
		method: http.MethodPost, location: LocationTimelines, version: versionPools,
		route: c.route(), body: job.TimelineReference{ID: id},
	}, nil)
	if status, ok := errors.AsType[*StatusError](err); ok && status.TypeKey == KeyTimelineExists {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("making timeline %s: %w", id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil {
		c.made = make(map[job.TimelineID]bool)
	}
	c.made[id] = true
	return nil
}

// SendLines shows lines of step to whoever is watching. They are not worth a
// second attempt: the stored log is the durable copy (protocol §7.5).
func (c *JobClient) SendLines(ctx context.Context, step job.RecordID, startLine int64, lines []string) error {
	_, err := c.conn.do(patiently(ctx), call{
		method: http.MethodPost, location: LocationFeed, version: versionPools,
		route: c.route("timelineId", string(c.timeline), "recordId", string(c.jobID.Record())),
		body:  FeedLines{Count: len(lines), Value: lines, StepID: step, StartLine: startLine},
	}, nil)
	if err != nil {
		return fmt.Errorf("sending %d live lines: %w", len(lines), err)
	}
	return nil
}

// CreateLog makes an empty log for a page of record.
func (c *JobClient) CreateLog(ctx context.Context, record job.RecordID) (Log, error) {
	var log Log
	_, err := c.conn.do(patiently(ctx), call{
		method: http.MethodPost, location: LocationLogs, version: versionPools,
		route: c.route(), body: Log{Path: LogPath(record)},
	}, &log)
	if err == nil && log.ID == 0 {
		err = errors.New("the answer lacks the log's id")
	}
	if err != nil {
		return Log{}, fmt.Errorf("creating a log for record %s: %w", record, err)
	}
	return log, nil
}

// Logs lists the logs of the whole plan, those of other jobs included, with how
// many lines each has.
func (c *JobClient) Logs(ctx context.Context) ([]Log, error) {
	var all List[Log]
	_, err := c.conn.do(patiently(ctx), call{
		method: http.MethodGet, location: LocationLogs, version: versionPools, route: c.route(),
	}, &all)
	if notOffered(err) {
		err = fmt.Errorf("%w: %w", errNotOffered, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listing the plan's logs: %w", err)
	}
	return all.Value, nil
}

// AppendLog adds content to log id.
func (c *JobClient) AppendLog(ctx context.Context, id LogID, content io.Reader) error {
	_, err := c.conn.do(patiently(ctx), call{
		method: http.MethodPost, location: LocationLogs, version: versionPools,
		route: c.route("logId", strconv.Itoa(int(id))), content: content,
	}, nil)
	if err != nil {
		return fmt.Errorf("storing log %d: %w", id, err)
	}
	return nil
}

// Attach stores a file with record. One of the same type and name is replaced.
func (c *JobClient) Attach(ctx context.Context, record job.RecordID, kind, name string, content io.Reader) error {
	if !isFileName(kind) || !isFileName(name) {
		return fmt.Errorf("attaching %q of type %q: %w", name, kind, errFileName)
	}
	_, err := c.conn.do(patiently(ctx), call{
		method: http.MethodPut, location: LocationAttachments, version: versionPools,
		route:   c.route("timelineId", string(c.timeline), "recordId", string(record), "type", kind, "name", name),
		content: content,
	}, nil)
	if err != nil {
		return fmt.Errorf("attaching %q: %w", name, err)
	}
	return nil
}

// Complete ends the job (protocol §7.10). It returns [ErrPlanGone] when the plan
// is over or the token no longer opens it, which no repetition changes.
func (c *JobClient) Complete(ctx context.Context, result job.Result, shuttingDown bool) error {
	_, err := c.conn.do(withoutRetries(ctx), call{
		method: http.MethodPost, location: LocationPlanEvents, version: versionEvents, route: c.route(),
		body: JobEvent{Name: EventJobCompleted, JobID: c.jobID, RequestID: c.request, Result: result, AgentShuttingDown: shuttingDown},
	}, nil)
	if err != nil {
		return fmt.Errorf("completing job %s: %w", c.jobID, err)
	}
	return nil
}

// patiently marks a request that its caller repeats, and that can wait.
func patiently(ctx context.Context) context.Context { return patient(withoutRetries(ctx)) }

// route returns the plan's route values and more, given as name, value, ….
func (c *JobClient) route(more ...string) map[string]string {
	route := map[string]string{
		"scopeIdentifier": c.plan.ScopeIdentifier, "hubName": c.plan.HubName, "planId": string(c.plan.PlanID),
	}
	for i := 0; i+1 < len(more); i += 2 {
		route[more[i]] = more[i+1]
	}
	return route
}

// isFileName reports whether name may be the last part of a path, here and in a
// route.
func isFileName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 255 {
		return false
	}
	for _, r := range name {
		if r < ' ' || r == '/' || r == '\\' || r == 0x7f {
			return false
		}
	}
	return true
}
