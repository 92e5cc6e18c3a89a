package podmanrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// hook is a command that runs in a container of its own accord: right after its
// start, or before it is stopped. It is kept in a label, because who stops a stack
// need not have its file.
type hook struct {
	Command    []string `json:"command"`
	User       string   `json:"user,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	Privileged bool     `json:"privileged,omitempty"`
	Env        []string `json:"env,omitempty"`
}

// hookTimeout bounds one hook after the start. Compose has no bound; a hook that
// takes longer than a database takes to import a dump has hung.
const hookTimeout = 5 * time.Minute

// hookLooks is how often, endLook apart, the container of a failed hook is looked at:
// Podman says that it runs until its monitor has written down the end.
const hookLooks = 10

func hooksOf(list []types.ServiceHook) ([]hook, error) {
	hooks := make([]hook, 0, len(list))
	for _, h := range list {
		if len(h.Command) == 0 {
			return nil, errors.New("a hook has no command")
		}
		out := hook{Command: h.Command, User: h.User, WorkingDir: h.WorkingDir, Privileged: h.Privileged}
		for _, name := range slices.Sorted(maps.Keys(h.Environment)) {
			if v := h.Environment[name]; v != nil {
				out.Env = append(out.Env, name+"="+*v)
			}
		}
		hooks = append(hooks, out)
	}
	return hooks, nil
}

// setHooks keeps what runs after the container is started and before it is stopped.
func setHooks(r *createRequest, s types.ServiceConfig) error {
	for _, when := range []struct {
		key, label string
		list       []types.ServiceHook
	}{{"post_start", labelHooks, s.PostStart}, {"pre_stop", labelPreStop, s.PreStop}} {
		hooks, err := hooksOf(when.list)
		if err != nil {
			return fmt.Errorf("%s: %w", when.key, err)
		}
		if len(hooks) == 0 {
			continue
		}
		data, _ := json.Marshal(hooks) // strings always encode
		r.Labels[when.label] = string(data)
	}
	return nil
}

// runHooks runs hooks one after the other. A hook that fails ends it, with the
// last line that it wrote.
func runHooks(ctx context.Context, client *libpod.Client, id, name string, hooks []hook) error {
	for _, h := range hooks {
		last := ""
		code, err := client.Exec(ctx, id, name, libpod.ExecRequest{
			Cmd: h.Command, Env: h.Env, User: h.User, WorkingDir: h.WorkingDir, Privileged: h.Privileged,
		}, func(line string) {
			if strings.TrimSpace(line) != "" {
				last = line
			}
		})
		if err != nil {
			return fmt.Errorf("hook %q: %w", strings.Join(h.Command, " "), err)
		}
		if code != 0 {
			return fmt.Errorf("hook %q ended with exit code %d: %s", strings.Join(h.Command, " "), code, last)
		}
	}
	return nil
}

// postStart runs what a container wants to be done after a start by somebody who
// need not have its file.
func (c *Client) postStart(ctx context.Context, l libpod.Listed) error {
	var hooks []hook
	text := l.Labels[labelHooks]
	if text == "" || json.Unmarshal([]byte(text), &hooks) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, hookTimeout, fmt.Errorf("a hook did not end within %s", hookTimeout))
	defer cancel()
	return runHooks(ctx, c.api, l.ID, l.Name(), hooks)
}

// preStop runs what a container wants to be done before it is stopped, within its
// grace period. What goes wrong does not keep the container from being stopped; one
// that has ended or is gone has nothing to do.
func (c *Client) preStop(ctx context.Context, l libpod.Listed, grace time.Duration) {
	var hooks []hook
	text := l.Labels[labelPreStop]
	if text == "" || l.State != "running" || grace <= 0 || json.Unmarshal([]byte(text), &hooks) != nil {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, grace, fmt.Errorf("not done within the grace period of %s", grace))
	defer cancel()
	if err := runHooks(ctx, c.api, l.ID, l.Name(), hooks); err != nil && !gone(err) {
		c.log.WarnContext(ctx, "hook before the stop failed", "container", l.Name(), "error", err)
	}
}
