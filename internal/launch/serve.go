package launch

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Serve listens on a socket, starts what comes in, and reaps what nobody else
// does, until it is sent SIGTERM. It is the whole life of a program, whose
// environment its processes inherit.
func Serve(socket string, env []string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("listening for processes: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return fmt.Errorf("listening for processes: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return fmt.Errorf("listening for processes: %w", err)
	}
	s := &server{env: env, patience: answerTimeout, children: make(map[int]chan end)}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT)
	done := make(chan struct{})
	failed := make(chan error, 1)
	go func() { failed <- s.accept(listener.AcceptUnix, done) }()
	for {
		select {
		case received := <-signals:
			if received == syscall.SIGCHLD {
				s.reap()
				continue
			}
			close(done)
			return listener.Close() // the first process takes all others of the container along
		case err := <-failed:
			return fmt.Errorf("listening for processes: %w", err)
		}
	}
}

// acceptPause is how long nobody is let in when there was no room for another
// connection: what ends makes room.
const acceptPause = 100 * time.Millisecond

// accept serves the connections of a listener until done is closed. Another end is
// an error.
func (s *server) accept(next func() (*net.UnixConn, error), done <-chan struct{}) error {
	for {
		conn, err := next()
		switch {
		case err == nil:
			go s.serve(conn)
			continue
		case !temporary(err):
			return err
		}
		select {
		case <-done:
			return err
		case <-time.After(acceptPause):
		}
	}
}

// temporary reports whether a listener may have connections again after err: this
// process or the system was out of room, or who called has gone already.
func temporary(err error) bool {
	for _, known := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR, syscall.EAGAIN} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// server is the first process of a container.
type server struct {
	env      []string
	patience time.Duration // for what the other side does first

	mu       sync.Mutex
	children map[int]chan end // started here and not waited for; each takes one value
}

// serve does what one connection asks for.
func (s *server) serve(conn *net.UnixConn) {
	defer conn.Close() //nolint:errcheck // the other side has heard everything
	var p Program
	_ = conn.SetDeadline(time.Now().Add(s.patience)) // who says nothing keeps no place
	files, err := receive(conn, &p)
	defer closeAll(files)
	if err != nil {
		return // somebody only looked whether we listen
	}
	if p.Probe != "" {
		_ = send(conn, answer(probe(p.Probe)))
		return
	}
	before := memoryKills()
	pid, ended, err := s.start(p, files)
	closeAll(files) // or the output would never end
	first := answer(err)
	first.PID = pid
	_ = conn.SetDeadline(time.Now().Add(s.patience))
	if send(conn, first) != nil && err == nil {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	if err != nil {
		return
	}
	_ = conn.SetDeadline(time.Time{}) // the process takes as long as it takes
	over := make(chan struct{})
	var listening sync.WaitGroup
	listening.Go(func() { obey(conn, pid, over) })
	last := <-ended
	close(over)
	exit := last.exit()
	if exit.Code == 128+int(syscall.SIGKILL) && memoryKills() > before {
		exit.OutOfMemory, exit.Limit = true, memoryLimit()
	}
	_ = send(conn, reply{Exit: &exit}) // a caller who went away does not care
	listening.Wait()
}

// end is how a process ended, and what it used.
type end struct {
	status syscall.WaitStatus
	usage  syscall.Rusage
}

func (e end) exit() Exit {
	x := Exit{
		Code: e.status.ExitStatus(), Memory: e.usage.Maxrss << 10,
		CPU: time.Duration(e.usage.Utime.Nano() + e.usage.Stime.Nano()),
	}
	if e.status.Signaled() {
		x.Code = 128 + int(e.status.Signal())
	}
	var own syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &own) == nil {
		x.AtMost = e.usage.Maxrss <= own.Maxrss
	}
	return x
}

// obey signals the group of pid as the connection says until that ends. The group
// is then killed, unless its process was over before.
func obey(conn *net.UnixConn, pid int, over <-chan struct{}) {
	var signals [1]byte
	for {
		if _, err := conn.Read(signals[:]); err != nil {
			break
		}
		_ = syscall.Kill(-pid, syscall.Signal(signals[0])) // one that is gone needs none
	}
	select {
	case <-over:
	default:
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// dirError says that the working directory cannot be used.
type dirError struct{ error }

// answer is the reply to a start, or to none.
func answer(err error) reply {
	if err == nil {
		return reply{}
	}
	r := reply{Error: err.Error()}
	if errors.Is(err, ErrNotFound) {
		r.Kind = kindLook
	}
	if _, ok := errors.AsType[dirError](err); ok {
		r.Kind = kindDir
	}
	return r
}

// start starts p with its output into files.
func (s *server) start(p Program, files []*os.File) (pid int, ended <-chan end, err error) {
	if len(files) != mostFiles {
		return 0, nil, fmt.Errorf("starting %s: %d files came with it, want %d", p.Path, len(files), mostFiles)
	}
	env := environment(s.env, p)
	path, err := look(p.Path, env["PATH"])
	if err != nil {
		return 0, nil, err
	}
	if p.Dir != "" {
		info, err := os.Stat(p.Dir)
		if err == nil && !info.IsDir() {
			err = errors.New("it is no directory")
		}
		if err != nil {
			return 0, nil, dirError{fmt.Errorf("the working directory %s cannot be used in the container: %w", p.Dir, reason(err))}
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, fmt.Errorf("starting %s: %w", p.Path, err)
	}
	defer null.Close() //nolint:errcheck // nothing was written
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	// The lock keeps a process that ends at once from being reaped unknown.
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, err = syscall.ForkExec(path, append([]string{p.Path}, p.Args...), &syscall.ProcAttr{
		Dir: p.Dir, Env: list, Files: []uintptr{null.Fd(), files[0].Fd(), files[1].Fd()},
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("starting %s: %w", path, err)
	}
	last := make(chan end, 1)
	s.children[pid] = last
	return pid, last, nil
}

// reason takes the path out of an error that names it again.
func reason(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}

// reap waits for every process that has ended, ours and orphans.
func (s *server) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var e end
		pid, err := syscall.Wait4(-1, &e.status, syscall.WNOHANG, &e.usage)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ended, ours := s.children[pid]; ours {
			ended <- e
			delete(s.children, pid)
		}
	}
}

// defaultPath is where programs are looked for when an image says nothing.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is what the image and the engine set, with p's on top.
func environment(base []string, p Program) map[string]string {
	env := make(map[string]string, len(base)+len(p.Env))
	for _, entry := range slices.Concat(base, p.Env) {
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" {
			env[name] = value
		}
	}
	if env["PATH"] == "" {
		env["PATH"] = defaultPath
	}
	env["PATH"] = strings.Join(append(slices.Clone(p.Prepend), env["PATH"]), ":")
	if p.Home != "" && !writable(env["HOME"]) {
		env["HOME"] = p.Home
	}
	return env
}

// writable reports whether this user may make files in dir.
func writable(dir string) bool {
	const writeAndEnter = 3
	return dir != "" && dir != "/" && syscall.Access(dir, writeAndEnter) == nil
}

// look finds a program on path.
func look(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("looking for %s: %w", name, ErrNotFound)
}

// probe does in dir what steps will do in their workspace.
func probe(dir string) error {
	made := filepath.Join(dir, "inside")
	if err := os.Mkdir(made, 0o755); err != nil { //nolint:gosec // as a step would
		return err
	}
	if err := os.WriteFile(filepath.Join(made, "file"), []byte(time.Now().String()), 0o644); err != nil { //nolint:gosec // as a step would
		return err
	}
	return os.RemoveAll(filepath.Join(dir, "outside"))
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // our copies; a second time is harmless
	}
}
