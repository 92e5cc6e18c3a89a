package doctorcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"strings"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun"
)

// What has to be free for containers: a small image, and a database with its tools.
const leastImages, scarceImages = 512 << 20, 5 << 30

func (x *examination) podmanChecks(log *slog.Logger) []doctor.Check {
	if x.unusable[groupPodman] {
		return []doctor.Check{always(groupPodman, "service", skipped("%v", errUnusable))}
	}
	var engine podmanrun.Engine
	check := func(name string, ask func() doctor.Result) doctor.Check {
		return doctor.Check{Group: groupPodman, Topic: name, Needs: []string{"service"}, Ask: answers(func(context.Context) doctor.Result { return ask() })}
	}
	return []doctor.Check{
		{Group: groupPodman, Topic: "service", Ask: answers(func(ctx context.Context) (r doctor.Result) {
			engine, r = x.podmanService(ctx, log)
			return r
		})},
		check("storage", func() doctor.Result {
			if engine.Storage == "vfs" {
				return failed(hint.With(errors.New("vfs: every container copies the whole of its image"), `set driver = "overlay" in the service's storage.conf; rootless on an old kernel, install fuse-overlayfs`))
			}
			return ok("%s in %s", engine.Storage, engine.Root)
		}),
		check("disk", func() doctor.Result {
			free := engine.Size - engine.Used
			if engine.Size <= 0 {
				return skipped("the service does not say")
			}
			// What is kept for root, or by a quota, the service counts as free.
			if v, err := buildkitconf.StatVolume(engine.Root); err == nil && strings.HasPrefix(x.Podman.Host, "unix:") {
				free = min(free, v.Free)
			}
			text := fmt.Sprintf("%s of %s are free", buildkitconf.Human(free), buildkitconf.Human(engine.Size))
			const advice = "run podman system prune, or give its storage a larger disk"
			switch {
			case free < leastImages:
				return failed(hint.With(errors.New(text), advice))
			case free < scarceImages:
				return warned(advice, "%s", text)
			}
			return ok("%s", text)
		}),
	}
}

// podmanService asks the service who it is. None that was named, and none that is
// there, is no failure: jobs start their own.
func (x *examination) podmanService(ctx context.Context, log *slog.Logger) (podmanrun.Engine, doctor.Result) {
	client, err := podmanrun.Connect(ctx, x.Podman, log)
	switch {
	case errors.Is(err, podmanrun.ErrNoService):
		path, err := exec.LookPath(x.Podman.Program)
		if err != nil {
			return podmanrun.Engine{}, skipped("CONTAINER_HOST is not set, no service runs, and there is no podman to start one: jobs with containers fail")
		}
		return podmanrun.Engine{}, skipped("CONTAINER_HOST is not set, and no service runs; jobs start %s for themselves", path)
	case errors.Is(err, fs.ErrPermission):
		return podmanrun.Engine{}, denied(err, os.Geteuid())
	case err != nil && ctx.Err() != nil:
		return podmanrun.Engine{}, failed(hint.With(fmt.Errorf("asking Podman at %s: %w", cmp.Or(x.Podman.Host, "its usual socket"), context.Cause(ctx)), "look into its log, and start it anew if it hangs; CONTAINER_HOST names another one"))
	case err != nil:
		return podmanrun.Engine{}, failed(err)
	}
	defer func() { _ = client.Close() }() // it started nothing
	engine, err := client.Engine(ctx)
	if err != nil {
		return engine, failed(hint.With(err, "look into the log of the service at %s", client.Host()))
	}
	who := "as root"
	if engine.Rootless {
		who = "rootless"
	}
	var more []string
	for _, part := range []struct{ text, value string }{{"runtime ", engine.Runtime}, {"network ", engine.NetworkBackend}, {"cgroups ", engine.CgroupVersion}} {
		if part.value != "" {
			more = append(more, part.text+part.value)
		}
	}
	return engine, ok("Podman %s %s at %s; %s", client.Version(), who, client.Host(), strings.Join(more, ", "))
}

// denied says who may not ask the service, and who could change that.
func denied(err error, uid int) doctor.Result {
	return failed(hint.With(fmt.Errorf("user %d may not use the socket: %w", uid, unhinted{err}),
		"let this user read and write the socket and enter its directories: a group of the agent's for both (SocketGroup= and SocketMode= of podman.socket), or a service of this user's own (podman system service), which CONTAINER_HOST names"))
}

// unhinted is an error whose hints do not fit here.
type unhinted struct{ error }
