package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
)

// rootless starts a Podman of another user, in mounts of its own because a network
// without root needs a device that is closed here, and returns its address.
func rootless(t *testing.T, base, mirror string, uid, gid int, subids string) string {
	t.Helper()
	dir := filepath.Join(base, "podman")
	tun := filepath.Join(base, "tun")
	files := map[string]string{
		"subids": subids,
		"registries.conf": "unqualified-search-registries = [\"docker.io\"]\nshort-name-mode = \"permissive\"\n[[registry]]\nlocation = \"docker.io\"\n" +
			"[[registry.mirror]]\nlocation = \"" + mirror + "\"\ninsecure = true\n",
		"storage.conf": "[storage]\ndriver = \"vfs\"\ngraphroot = \"" + dir + "/graph\"\nrunroot = \"" + dir + "/run\"\n[storage.options]\nignore_chown_errors = \"true\"\n",
		"containers.conf": "[containers]\nlog_driver = \"k8s-file\"\ndefault_ulimits = []\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n" +
			"lock_type = \"file\"\nimage_copy_tmp_dir = \"" + dir + "\"\n[network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"" + dir + "/networks\"\n",
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(dir, 0o755))
	for name, text := range files {
		must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	must(os.Chown(dir, uid, gid))
	must(unix.Mknod(tun, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))))
	must(os.Chmod(tun, 0o666))
	socket := filepath.Join(dir, "podman.sock")
	log, err := os.Create(filepath.Join(base, "podman.log"))
	must(err)
	defer func() { _ = log.Close() }() // the child has its own
	rig.KeepLog(t, "podman", log.Name())
	script := fmt.Sprintf(`mount --make-rshared / && mount --bind %[2]s /dev/net/tun &&
mount --bind %[1]s/subids /etc/subuid && mount --bind %[1]s/subids /etc/subgid &&
exec setpriv --reuid %[3]d --regid %[4]d --clear-groups podman system service --time=0 unix://%[5]s`, dir, tun, uid, gid, socket)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "unshare", "--mount", "sh", "-c", script)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "CONTAINERS_CONF=" + dir + "/containers.conf",
		"CONTAINERS_STORAGE_CONF=" + dir + "/storage.conf", "CONTAINERS_REGISTRIES_CONF=" + dir + "/registries.conf",
	}
	must(cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	eventually(t, "Podman answers", time.Minute, func() bool { return exists(socket) })
	must(os.Chmod(socket, 0o666))
	return "unix://" + socket
}

// Whoever runs Podman, an agent that is not root can remove what a step in a
// container wrote, and the step can change what the agent wrote.
func TestTheUsersOfAContainerAndItsAgentMatch(t *testing.T) {
	t.Parallel()
	mirror := rig.NeedImages(t)
	for name, start := range map[string]func(t *testing.T, l lowly) (address, user string){
		"Podman of root": func(t *testing.T, _ lowly) (string, string) {
			p := rig.NeedPodman(t, rig.PodmanOptions{Mirror: mirror.Addr()})
			for path, mode := range map[string]os.FileMode{filepath.Dir(p.Socket()): 0o711, p.Socket(): 0o666} {
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
			return p.Addr(), "65534"
		},
		"Podman of the same user": func(t *testing.T, l lowly) (string, string) {
			return rootless(t, filepath.Dir(l.dir), mirror.Addr(), lowlyUser, lowlyUser, ""), "0"
		},
		// As in a pod: another user, to whom the agent's is given for containers.
		"Podman of another user": func(t *testing.T, l lowly) (string, string) {
			return rootless(t, filepath.Dir(l.dir), mirror.Addr(), 1, 1, fmt.Sprintf("daemon:%d:1\ndaemon:200000:65536\n", lowlyUser)), "1"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLowly(t)
			address, user := start(t, l)
			srv := emulatortest.New(t)
			log := l.start(t, srv, false, "AZP_TOKEN="+srv.PAT.Reveal(), "BUILDKIT_HOST", "CONTAINER_HOST="+address)
			m := emulatortest.Bash(
				`mkdir -p here/deep && echo host > here/deep/file && chmod 644 here/deep/file && git init -q repo && echo "host $(id -u)"`,
				`set -e; echo "inside $(id -u)"; echo more >> here/deep/file; mkdir -m 755 here/deep/inside; echo x > here/deep/inside/y; chmod 644 here/deep/inside/y; rm -r repo; touch "$HOME/home"`,
				`set -e; cat here/deep/file; echo z >> here/deep/inside/y; rm -r here; echo removed`,
			)
			m.Steps[1].Target = &job.StepTarget{Target: "box"}
			m.Resources.Containers = []job.Container{{Alias: "box", Properties: job.ContainerProperties{Image: "debian"}}}
			id := srv.Queue(m)
			ctx, cancel := context.WithTimeoutCause(t.Context(), jobTimeout, errTooLong)
			defer cancel()
			if _, err := srv.Await(ctx, id, emulator.Completed); err != nil {
				t.Fatalf("%v; the agent's log:\n%s", err, log())
			}
			r, err := srv.Report(id)
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, rec := range r.Records {
				if rec.Type == job.TypeTask {
					all.WriteString(strings.Join(rec.Log, "\n") + "\n")
				}
			}
			if r.Result != job.Succeeded {
				t.Errorf("the job ended as %s:\n%s", r.Result, all.String())
			}
			for _, want := range []string{"inside " + user + "\n", "host\nmore\n", "removed\n"} {
				if !strings.Contains(all.String(), want) {
					t.Errorf("the logs lack %q:\n%s", want, all.String())
				}
			}
		})
	}
}
