package libpod

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

// ExecRequest is a command for a container that runs. Its empty fields are the
// container's own.
type ExecRequest struct {
	Cmd        []string `json:"Cmd"`
	Env        []string `json:"Env,omitempty"` // NAME=value, added to the container's
	User       string   `json:"User,omitempty"`
	WorkingDir string   `json:"WorkingDir,omitempty"`
	Privileged bool     `json:"Privileged,omitempty"`

	// What follows is for [Client.Exec] and its like to fill in.

	AttachStdin  bool `json:"AttachStdin,omitempty"`
	AttachStdout bool `json:"AttachStdout"`
	AttachStderr bool `json:"AttachStderr"`
	Tty          bool `json:"Tty,omitempty"`
}

// execStart says how a session begins.
type execStart struct {
	Detach bool   `json:"Detach"`
	Tty    bool   `json:"Tty,omitempty"`
	Rows   uint16 `json:"h,omitempty"`
	Cols   uint16 `json:"w,omitempty"`
}

// execEndTimeout bounds the wait for an exit code once the output has ended. A
// process may close its output and go on; nobody is told what it does then. Podman's
// exit_command_delay, after which it forgets the code, has to be longer: deploy/ says so.
const execEndTimeout = 10 * time.Second

// Exec runs a command in a container, tells its output line by line, and returns
// its exit code. It ends with ctx; the command then goes on by itself.
func (c *Client) Exec(ctx context.Context, id, name string, r ExecRequest, line func(string)) (code int, err error) {
	r.AttachStdout, r.AttachStderr = true, true
	what := "running a command in container " + name
	session, err := c.newExec(ctx, id, r, what)
	if err != nil {
		return 0, err
	}
	body, err := c.stream(ctx, request{
		method: http.MethodPost, path: "/exec/" + session + "/start", body: execStart{}, bound: -1, what: what,
	})
	if err != nil {
		return 0, err
	}
	err = readFrames(body, line)
	_ = body.Close() // everything of interest has been read
	if err != nil {
		return 0, withCause(ctx, err)
	}
	return c.execCode(ctx, session, what)
}

// ExecAttached runs a command in a container with s, and returns its exit code.
// It ends with ctx; the command then goes on by itself.
func (c *Client) ExecAttached(ctx context.Context, id, name string, r ExecRequest, s Streams) (code int, err error) {
	r.AttachStdin, r.AttachStdout, r.AttachStderr, r.Tty = s.In != nil, true, true, s.TTY
	what := "running a command in container " + name
	session, err := c.newExec(ctx, id, r, what)
	if err != nil {
		return 0, err
	}
	start := execStart{Tty: s.TTY}
	if s.TTY && s.Resize != nil {
		select {
		case size := <-s.Resize:
			start.Rows, start.Cols = size.Rows, size.Columns
		default:
		}
	}
	attached, err := c.hijack(ctx, request{method: http.MethodPost, path: "/exec/" + session + "/start", body: start, what: what}, s.TTY)
	if err != nil {
		return 0, err
	}
	sizesCtx, stop := context.WithCancel(ctx)
	var sizes sync.WaitGroup
	if s.TTY && s.Resize != nil {
		sizes.Go(func() { c.follow(sizesCtx, "/exec/"+session, s.Resize) })
	}
	err = attached.Exchange(ctx, s)
	stop()
	sizes.Wait()
	if err != nil {
		return 0, err
	}
	return c.execCode(ctx, session, what)
}

// ExecDetached starts a command in a container and leaves it to itself. Its refusal
// has Podman's words for why the command cannot be started.
func (c *Client) ExecDetached(ctx context.Context, id, name string, r ExecRequest) error {
	what := "running a command in container " + name
	session, err := c.newExec(ctx, id, r, what)
	if err != nil {
		return err
	}
	return c.call(ctx, request{method: http.MethodPost, path: "/exec/" + session + "/start", body: execStart{Detach: true}, what: what}, nil)
}

func (c *Client) newExec(ctx context.Context, id string, r ExecRequest, what string) (session string, err error) {
	var answer struct {
		ID string `json:"Id"`
	}
	err = c.call(ctx, request{method: http.MethodPost, path: "/containers/" + id + "/exec", body: r, what: what}, &answer)
	return answer.ID, err
}

// execCode returns the exit code of a session whose output has ended. Podman
// learns of its end a moment later.
func (c *Client) execCode(ctx context.Context, session, what string) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, execEndTimeout,
		fmt.Errorf("the command closed its output, but did not end within %s", execEndTimeout))
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		var state struct {
			Running  bool
			ExitCode int
		}
		err := c.call(ctx, request{method: http.MethodGet, path: "/exec/" + session + "/json", what: what}, &state)
		if err != nil || !state.Running {
			return state.ExitCode, err
		}
		if err := retry.Wait(ctx, pause); err != nil {
			return 0, fmt.Errorf("%s: %w", what, err)
		}
	}
}
