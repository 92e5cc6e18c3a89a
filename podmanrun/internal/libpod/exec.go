package libpod

import (
	"context"
	"net/http"
)

// ExecRequest is a command for a container that runs. Its empty fields are the
// container's own.
type ExecRequest struct {
	Cmd        []string `json:"Cmd"`
	Env        []string `json:"Env,omitempty"` // NAME=value, added to the container's
	User       string   `json:"User,omitempty"`
	WorkingDir string   `json:"WorkingDir,omitempty"`
	Privileged bool     `json:"Privileged,omitempty"`

	AttachStdout bool `json:"AttachStdout"`
	AttachStderr bool `json:"AttachStderr"`
}

// Exec runs a command in a container, tells its output line by line, and returns
// its exit code. It ends with ctx; the command then goes on by itself.
func (c *Client) Exec(ctx context.Context, id, name string, r ExecRequest, line func(string)) (code int, err error) {
	r.AttachStdout, r.AttachStderr = true, true
	var session struct {
		ID string `json:"Id"`
	}
	what := "running a command in container " + name
	err = c.call(ctx, request{method: http.MethodPost, path: "/containers/" + id + "/exec", body: r, what: what}, &session)
	if err != nil {
		return 0, err
	}
	body, err := c.stream(ctx, request{
		method: http.MethodPost, path: "/exec/" + session.ID + "/start", body: map[string]bool{"Detach": false}, bound: -1, what: what,
	})
	if err != nil {
		return 0, err
	}
	err = readFrames(body, line)
	_ = body.Close() // everything of interest has been read
	if err != nil {
		return 0, withCause(ctx, err)
	}
	var state struct{ ExitCode int }
	err = c.call(ctx, request{method: http.MethodGet, path: "/exec/" + session.ID + "/json", what: what}, &state)
	return state.ExitCode, err
}

// Launch starts a command in a container and does not wait for it, nor for its output.
// Unlike [Client.Exec] it returns Podman's words when the command cannot be started.
func (c *Client) Launch(ctx context.Context, id, name string, r ExecRequest) error {
	var session struct {
		ID string `json:"Id"`
	}
	what := "starting a command in container " + name
	err := c.call(ctx, request{method: http.MethodPost, path: "/containers/" + id + "/exec", body: r, what: what}, &session)
	if err != nil {
		return err
	}
	return c.call(ctx, request{method: http.MethodPost, path: "/exec/" + session.ID + "/start", body: map[string]bool{"Detach": true}, what: what}, nil)
}
