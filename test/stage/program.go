package stage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// endTimeout is how long a program may take to end after SIGTERM when nothing
// runs in it any more.
const endTimeout = 30 * time.Second

// Program is one of our programs, running. Its methods may be called
// concurrently.
type Program struct {
	Name string
	Log  string // file with its standard error; empty: not kept

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has gone
	err  error         // of Wait; valid after done
	once sync.Once
}

// run starts the program and a goroutine that waits for it.
func run(name string, cmd *exec.Cmd, log string) (*Program, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Program{Name: name, Log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Pid returns the process id.
func (p *Program) Pid() int { return p.cmd.Process.Pid }

// StatusKiB reads a field of the process's /proc/PID/status that is in KiB, such as
// VmRSS or VmHWM.
func (p *Program) StatusKiB(field string) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // read only
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && name == field {
			return strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", p.Pid(), field)
}

// Signal sends a signal; a process that has gone is no error.
func (p *Program) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling %s: %w", p.Name, err)
	}
	return nil
}

// Kill ends the program with SIGKILL and waits until it has gone.
func (p *Program) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	<-p.done
	return err
}

// Wait returns the exit code once the program has gone; ctx bounds the wait.
func (p *Program) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for %s to end: %w", p.Name, context.Cause(ctx))
	}
}

// Stop asks the program to end, kills it when it does not, and reports an exit
// code that is not zero, with the end of its log.
func (p *Program) Stop(ctx context.Context) (err error) {
	p.once.Do(func() {
		if err = p.Signal(syscall.SIGTERM); err != nil {
			return
		}
		ctx, cancel := context.WithTimeoutCause(ctx, endTimeout, fmt.Errorf("%s did not end within %s", p.Name, endTimeout))
		defer cancel()
		code, werr := p.Wait(ctx)
		switch {
		case werr != nil:
			err = errors.Join(werr, p.Kill())
		case code != 0 && p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL: // a test that killed it knows
			err = fmt.Errorf("%s ended with exit code %d; its log ends with:\n%s", p.Name, code, p.Tail())
		}
	})
	return err
}

// Tail returns the last lines of the log.
func (p *Program) Tail() string {
	content, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	const most = 40 // lines: what fits beside an error on a screen
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

func (s *Stage) startEmulator(ctx context.Context, flags []string) error {
	args := append([]string{"emulator", "--addr", "127.0.0.1:0", "--pat", PAT, "--state", filepath.Join(s.Dir, "emulator")}, flags...)
	// Stop ends it, in its turn; a context that ends would do so at once.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.binary, args...)
	log, err := os.Create(filepath.Join(s.Dir, "emulator.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd.Stderr = log
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // one line is all that is read
	cmd.Stdout = w
	p, err := run("the emulator", cmd, log.Name())
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	s.onStop(p.Stop)
	var ready struct{ URL string }
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		return fmt.Errorf("reading the emulator's address: %w; its log ends with:\n%s", err, p.Tail())
	}
	s.URL = ready.URL
	return nil
}

// AgentOptions say how an agent differs from the stage's usual one.
type AgentOptions struct {
	Name string   // empty is "stage"; state and work folder are its own
	Args []string // after "dockless agent"
	Env  []string // NAME=value, stronger than the stage's own; NAME alone removes it
}

// AgentEnv returns the settings of the stage's agent of this name, without the
// rest of the environment.
func (s *Stage) AgentEnv(name string) []string {
	env := []string{
		"AZP_URL=" + s.URL, "AZP_TOKEN=" + PAT, "AZP_POOL=Default", "AZP_AGENT_NAME=" + name,
		"AZP_WORK=" + filepath.Join(s.Dir, name, "work"),
		"DOCKER_CONFIG=" + filepath.Join(s.Dir, name, "docker"),
		"DOCKLESS_STATE_DIR=" + filepath.Join(s.Dir, name, "state"),
		"DOCKLESS_PROBE_FILE=" + filepath.Join(s.Dir, name, "probe"),
		"LOG_FORMAT=json",
	}
	if s.Buildkitd != nil {
		env = append(env, "BUILDKIT_HOST="+s.Buildkitd.Addr())
	}
	if s.Podman != nil {
		env = append(env, "CONTAINER_HOST="+s.Podman.Addr())
	}
	if s.Registry != nil {
		env = append(env, "DOCKLESS_CACHE_REPO="+s.Registry.Addr()+"/cache")
	}
	return env
}

// StartAgent starts an agent; the stage stops it at its end.
func (s *Stage) StartAgent(ctx context.Context, o AgentOptions) (*Program, error) {
	if o.Name == "" {
		o.Name = "stage"
	}
	dir := filepath.Join(s.Dir, o.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	if err := s.dockerConfig(filepath.Join(dir, "docker")); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.binary, append([]string{"agent"}, o.Args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = Environment(append(os.Environ(), append(s.AgentEnv(o.Name), o.Env...)...))
	p, err := run("agent "+o.Name, cmd, log.Name())
	if err != nil {
		return nil, err
	}
	s.onStop(p.Stop)
	return p, nil
}

// Environment applies entries without "=" as removals of earlier ones.
func Environment(entries []string) []string {
	var env []string
	for _, e := range entries {
		if strings.Contains(e, "=") {
			env = append(env, e)
			continue
		}
		kept := env[:0]
		for _, old := range env {
			if !strings.HasPrefix(old, e+"=") {
				kept = append(kept, old)
			}
		}
		env = kept
	}
	return env
}

// dockerConfig makes a Docker configuration in which the docker command finds
// buildx, as it does where buildx was installed.
func (s *Stage) dockerConfig(dir string) error {
	content, err := json.Marshal(map[string]any{"cliPluginsExtraDirs": []string{filepath.Dir(s.binary)}})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), content, 0o600)
}
