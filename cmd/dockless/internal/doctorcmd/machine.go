package doctorcmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/cdi"
	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner"
)

// What has to be free for jobs: a checkout and the packages of a small project, and
// what an image of their tools adds to that.
const (
	leastWork, scarceWork = 256 << 20, 2 << 30
	leastFiles            = 1000
)

func (x *examination) machineChecks(log *slog.Logger) []doctor.Check {
	check := func(name string, ask func(context.Context) doctor.Result) doctor.Check {
		return doctor.Check{Group: groupMachine, Topic: name, Ask: answers(ask)}
	}
	return []doctor.Check{
		check("work", x.workFolder),
		check("state", func(context.Context) doctor.Result {
			if err := writable(x.Agent.StateDir); err != nil {
				return failed(hint.With(err, "set DOCKLESS_STATE_DIR to a directory that this user may write"))
			}
			return ok("%s can be written", absolute(x.Agent.StateDir))
		}),
		check("bash", bashProgram),
		check("git", gitProgram),
		check("node", x.nodeProgram),
		check("docker", func(context.Context) doctor.Result {
			path, err := exec.LookPath("docker")
			if err != nil {
				return skipped("it is not installed; scripts that call it fail, tasks do without")
			}
			return ok("%s", path)
		}),
		check("probe page", x.probePage),
		check("user namespaces", userNamespaces),
		check("devices", func(ctx context.Context) doctor.Result { return devices(ctx, cdi.Dirs(), "/dev") }),
	}
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// workFolder asks whether jobs can write, and how much.
func (x *examination) workFolder(context.Context) doctor.Result {
	dir := absolute(x.Runner.Work)
	const elsewhere = "free disk space, or set AZP_WORK to a folder on another disk"
	v, err := buildkitconf.StatVolume(dir)
	if err != nil {
		return failed(hint.With(err, "set AZP_WORK to a folder that this user may write"))
	}
	free := fmt.Sprintf("%s: %s of %s are free", dir, buildkitconf.Human(v.Free), buildkitconf.Human(v.Size))
	files, known := freeFiles(dir)
	switch {
	case v.Free < leastWork:
		return failed(hint.With(errors.New(free), elsewhere))
	case known && files < leastFiles:
		return failed(hint.With(fmt.Errorf("%s: its disk has room for %d more files", dir, files), "remove files, or set AZP_WORK to a folder on another disk"))
	}
	if err := writable(dir); err != nil {
		return failed(hint.With(err, "set AZP_WORK to a folder that this user may write"))
	}
	if v.Free < scarceWork {
		return warned(elsewhere, "%s", free)
	}
	return ok("%s", free)
}

// freeFiles is how many more files a disk takes; unknown where it does not count them.
func freeFiles(dir string) (n uint64, known bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(nearest(dir), &st); err != nil || st.Files == 0 {
		return 0, false
	}
	return st.Ffree, true
}

// nearest is the first directory upwards from dir that is there.
func nearest(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// writable returns nil when files can be made in dir, or dir itself can be made. What
// it writes to find out is gone when it returns.
func writable(dir string) error {
	dir = absolute(dir)
	at := nearest(dir)
	if at != dir {
		if info, err := os.Stat(at); err == nil && !info.IsDir() {
			return fmt.Errorf("%s cannot be made: %s is no directory", dir, at)
		}
		if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("%s is not there, and cannot be made in %s: %w", dir, at, err)
		}
		return nil
	}
	f, err := os.CreateTemp(dir, ".dockless-doctor-")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4096)) // a full disk still takes an empty file
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

func bashProgram(context.Context) doctor.Result {
	path, err := exec.LookPath("bash")
	if err != nil {
		return failed(hint.With(errors.New("it is not on PATH: steps with script or bash fail"), "install bash"))
	}
	return ok("%s", path)
}

var (
	gitVersion  = regexp.MustCompile(`^git version ((\d{1,4})\.(\d{1,4})\S*)`)
	nodeVersion = regexp.MustCompile(`^v((\d{1,4})\.\S*)`)
)

// versionOf asks a program for its version and returns what matches.
func versionOf(ctx context.Context, path string, form *regexp.Regexp) ([]string, error) {
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.WaitDelay = doctorBounds.Check // what it may have started must not hold the pipe for ever
	out, err := cmd.Output()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("asking %s for its version: %w", path, err)
	}
	match := form.FindStringSubmatch(string(out))
	if match == nil {
		return nil, fmt.Errorf("asking %s for its version: its answer has none", path)
	}
	return match, nil
}

func gitProgram(ctx context.Context) doctor.Result {
	major, minor := runner.OldestGit()
	advice := fmt.Sprintf("install git %d.%d or later", major, minor)
	path, err := exec.LookPath("git")
	if err != nil {
		return failed(hint.With(errors.New("it is not on PATH: every checkout fails"), "%s", advice))
	}
	v, err := versionOf(ctx, path, gitVersion)
	if err != nil {
		return failed(hint.With(err, "%s", advice))
	}
	a, b := number(v[2]), number(v[3])
	if a < major || a == major && b < minor {
		return failed(hint.With(fmt.Errorf("%s is %s: a checkout needs %d.%d or later", path, v[1], major, minor), "%s", advice))
	}
	return ok("%s, %s", v[1], path)
}

// number reads digits that an expression has found.
func number(digits string) int {
	n, _ := strconv.Atoi(digits) // four at most
	return n
}

func (x *examination) nodeProgram(ctx context.Context) doctor.Result {
	advice := fmt.Sprintf("install Node.js %d or later in the agent's image, or set DOCKLESS_NODE to its program", runner.OldestNode)
	if x.Runner.Node == "" {
		return skipped("DOCKLESS_NODE is empty; tasks that are downloaded fail, the built-in ones do without")
	}
	path, err := exec.LookPath(x.Runner.Node)
	if err != nil {
		return warned(advice, "%s is not there: tasks that are downloaded fail, the built-in ones do without", x.Runner.Node)
	}
	v, err := versionOf(ctx, path, nodeVersion)
	if err != nil {
		return failed(hint.With(err, "%s", advice))
	}
	if number(v[2]) < runner.OldestNode {
		return failed(hint.With(fmt.Errorf("%s is %s: tasks that are downloaded need %d or later", path, v[1], runner.OldestNode), "%s", advice))
	}
	return ok("%s, %s", v[1], path)
}

// restricted is where Ubuntu takes the rights inside of a user namespace away.
const restricted = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"

// userNamespaces tries what rootless engines do first.
func userNamespaces(ctx context.Context) doctor.Result {
	if os.Geteuid() == 0 {
		return skipped("this is root, which needs none")
	}
	const elsewhere = "or set CONTAINER_HOST and BUILDKIT_HOST to services that run elsewhere"
	self, err := os.Executable()
	if err != nil {
		return failed(err)
	}
	// Without a mapping: this process may be closed to its own user, who could not
	// write one then (see settings.Hide).
	cmd := exec.CommandContext(ctx, self, "version")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	if err := cmd.Run(); err != nil {
		return warned("set the sysctls user.max_user_namespaces above 0 and kernel.unprivileged_userns_clone, where it exists, to 1; "+elsewhere,
			"this user gets none (%v): rootless Podman and BuildKit cannot start", err)
	}
	if text, err := os.ReadFile(restricted); err == nil && strings.TrimSpace(string(text)) == "1" {
		return warned("set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0, or give the programs an AppArmor profile that allows userns; "+elsewhere,
			"this user gets them without rights, as %s says: rootless Podman and BuildKit need a profile to start", restricted)
	}
	return ok("this user gets them")
}

// gpus are devices for which nvidia-ctk writes a specification: those of a server and
// of a Jetson.
var gpus = []string{"nvidiactl", "nvhost-ctrl-gpu", "nvhost-gpu"}

// devices looks for specifications in dirs, and for GPUs in dev.
func devices(ctx context.Context, dirs []string, dev string) doctor.Result {
	var complaints complaints
	kinds := cdi.Read(ctx, dirs, slog.New(&complaints))
	if len(complaints.texts) > 0 {
		return warned("correct the file, or write it anew with nvidia-ctk cdi generate", "%s", strings.Join(complaints.texts, "; "))
	}
	nvidia := false
	var names []string
	for _, k := range kinds {
		names = append(names, fmt.Sprintf("%s (%d)", k, len(k.Devices)))
		nvidia = nvidia || k.Vendor == "nvidia.com"
	}
	for _, name := range gpus {
		if _, err := os.Stat(filepath.Join(dev, name)); err == nil && !nvidia {
			return warned("run nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
				"there is a GPU (%s), and no specification of it in %s: containers do not get it", filepath.Join(dev, name), strings.Join(dirs, " or "))
		}
	}
	if len(names) == 0 {
		return skipped("there is no GPU, and no specification in %s", strings.Join(dirs, " or "))
	}
	return ok("%s", strings.Join(names, ", "))
}

// complaints keeps what a log would be told. It is not safe for concurrent use.
type complaints struct{ texts []string }

// Enabled implements slog.Handler.
func (*complaints) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (c *complaints) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(", %s: %v", a.Key, a.Value)
		return true
	})
	c.texts = append(c.texts, text)
	return nil
}

// WithAttrs implements slog.Handler.
func (c *complaints) WithAttrs([]slog.Attr) slog.Handler { return c }

// WithGroup implements slog.Handler.
func (c *complaints) WithGroup(string) slog.Handler { return c }
