package ado

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

const (
	mediaZip = "application/zip"
	// maxPackage bounds the package of one task, in bytes. Published ones stay
	// below 100 MB, and a server that is not what it seems must not fill the disk.
	maxPackage = 512 << 20
)

// TaskClient fetches the packages of tasks, with the token of one job (protocol
// §8.3) or an administrator's credential. Its methods may be called concurrently.
type TaskClient struct {
	conn *connection
	base *azuredevops.Client // for answers that are not held in memory
}

// NewTaskClient returns a client for the tasks of m, at the address that m names
// for definitions of tasks, else at that of its collection, else at that of its
// job token. It does not connect.
func NewTaskClient(m *job.Message, o Options) (*TaskClient, error) {
	address, token := m.JobToken()
	for _, name := range []string{"system.teamFoundationCollectionUri", "system.taskDefinitionsUri"} {
		if v, _ := job.Lookup(m.Variables, name); v.Value != "" {
			address = v.Value
		}
	}
	if address == "" || token == "" {
		return nil, fmt.Errorf("job %s has no %s endpoint with a token", m.JobID, job.SystemConnection)
	}
	conn, err := newConnection(address, bearer{mask.NewSecret(token)}, o)
	if err != nil {
		return nil, fmt.Errorf("fetching the tasks of job %s: %w", m.JobID, err)
	}
	return newTaskClient(conn), nil
}

func newTaskClient(conn *connection) *TaskClient {
	return &TaskClient{conn: conn, base: conn.streaming()}
}

// streaming returns a client for answers that are not held in memory: those that
// are asked for as zips or as bytes.
func (c *connection) streaming() *azuredevops.Client {
	h := *c.http
	h.Transport = &downloads{c.http.Transport.(*transport)}
	return azuredevops.NewClientWithOptions(&azuredevops.Connection{BaseUrl: c.url}, c.url, azuredevops.WithHTTPClient(&h))
}

// FetchTask writes the package of a task, a zip, to to. It makes one attempt and
// may have written a part of the package when it fails. An answer that refuses
// is a *[StatusError]. An error has a method Temporary() bool that says yes when
// the connection broke; what to refuses is returned as it is.
func (c *TaskClient) FetchTask(ctx context.Context, ref job.TaskReference, to io.Writer) error {
	id, err := uuid.Parse(string(LocationTasks))
	if err != nil {
		return fmt.Errorf("location id %q: %w", LocationTasks, err)
	}
	route := map[string]string{"taskId": strings.ToLower(ref.ID), "versionString": ref.Version}
	answer, err := c.base.Send(ctx, http.MethodGet, id, versionTasks, route, nil, nil, "", mediaZip, nil)
	if err != nil {
		return fmt.Errorf("fetching task %s %s: %w", ref.Name, ref.Version, cleaned(err))
	}
	defer answer.Body.Close() //nolint:errcheck // read only
	n, err := io.Copy(to, io.LimitReader(answer.Body, maxPackage+1))
	switch {
	case n > maxPackage:
		err = fmt.Errorf("the package is larger than %d MiB", maxPackage>>20)
	case err == nil && answer.ContentLength > 0 && n < answer.ContentLength:
		err = &connectionError{io.ErrUnexpectedEOF}
	}
	if err != nil {
		return fmt.Errorf("fetching task %s %s: %w", ref.Name, ref.Version, err)
	}
	return nil
}

// downloads passes packages and files through as they arrive; everything else
// goes the way of its transport, which reads answers completely.
type downloads struct{ *transport }

var errSilent = errors.New("the server stopped sending")

// RoundTrip implements http.RoundTripper.
func (d *downloads) RoundTrip(req *http.Request) (*http.Response, error) {
	if accept := req.Header.Get("Accept"); !strings.HasPrefix(accept, mediaZip) && !strings.HasPrefix(accept, mediaBinary) {
		answer, err := d.transport.RoundTrip(req)
		if status, ok := errors.AsType[*StatusError](err); ok {
			status.tokenRequest = true // the way to a package is worth as many attempts as the package
		}
		return answer, err
	}
	// A package may take long, but not between two pieces of it.
	silence := d.options.Timeout
	ctx, cancel := context.WithCancelCause(req.Context())
	watch := time.AfterFunc(silence, func() { cancel(fmt.Errorf("%s %s: %w for %s", req.Method, req.URL.Path, errSilent, silence)) })
	body := &download{ctx: ctx, watch: watch, silence: silence, end: func() { watch.Stop(); cancel(nil) }}
	answer, err := d.send(req.Clone(ctx))
	if err != nil {
		err = body.cause(err)
		body.end()
		return nil, err
	}
	body.from = answer.Body
	answer.Body = body
	return answer, nil
}

// send authorizes and sends a request, and turns what is no package into an error.
func (d *downloads) send(req *http.Request) (*http.Response, error) {
	req.Header.Set("X-TFS-FedAuthRedirect", "Suppress")
	req.Header.Set("User-Agent", d.options.UserAgent)
	secret, err := d.auth.authorize(req.Context(), req)
	if err != nil {
		return nil, err
	}
	answer, err := d.options.HTTP.RoundTrip(req)
	if err != nil {
		return nil, d.broken(req.Context(), req, err)
	}
	d.options.Log.DebugContext(req.Context(), "request answered", "method", req.Method, "path", req.URL.Path, "status", answer.StatusCode)
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if answer.StatusCode == http.StatusOK && (kind == mediaZip || kind == mediaBinary) {
		return answer, nil
	}
	defer answer.Body.Close()                                    //nolint:errcheck // read only
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10)) // an error and its stack
	if err != nil {
		return nil, d.broken(req.Context(), req, err)
	}
	if status := refusal(req, answer, text, secret); status != nil {
		status.tokenRequest = true // here too, 429 and 500 are worth another attempt
		return nil, status
	}
	if looksLikeJSON(text) {
		return nil, fmt.Errorf("%s %s: the answer is %s, which was not asked for", req.Method, req.URL.Path, kind)
	}
	return nil, &StatusError{
		Method: req.Method, Path: req.URL.Path, Code: answer.StatusCode,
		ActivityID: answer.Header.Get("ActivityId"), Excerpt: excerpt(text, secret),
	}
}

// download is the body of a package. Every piece that arrives moves the end of
// the server's time.
type download struct {
	ctx     context.Context //nolint:containedctx // of the request the body belongs to
	from    io.ReadCloser
	watch   *time.Timer
	silence time.Duration
	end     func()
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	n, err := d.from.Read(p)
	if n > 0 {
		d.watch.Reset(d.silence)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = d.cause(&connectionError{err})
	}
	return n, err
}

// cause returns why the request was ended, if it was, in place of err.
func (d *download) cause(err error) error {
	if cause := context.Cause(d.ctx); cause != nil {
		return cause
	}
	return err
}

// Close implements io.Closer.
func (d *download) Close() error {
	defer d.end()
	return d.from.Close()
}
