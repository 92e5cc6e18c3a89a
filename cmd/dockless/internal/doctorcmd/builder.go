package doctorcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/moby/buildkit/worker/label"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/hint"
)

const (
	// storeBound is how long buildx's own lock is waited for, to learn which nodes
	// there are: it is held for milliseconds.
	storeBound = time.Second
	// usageBound is how long a node may add up its cache, which is a long walk where
	// the cache is large and the disk slow; that is no fault.
	usageBound = 3 * time.Second
)

// builderNode is what the checks of one node find out for each other.
type builderNode struct {
	buildxsetup.Node
	gate *buildxsetup.GateConfig // nil: the disk is not looked at before builds
}

// builderChecks are those of the nodes of the builder.
func (x *examination) builderChecks(ctx context.Context) []doctor.Check {
	if x.unusable[groupBuildKit] {
		return []doctor.Check{always(groupBuildKit, "builder", skipped("%v", errUnusable))}
	}
	bounded, cancel := context.WithTimeoutCause(ctx, storeBound, fmt.Errorf("another process holds it for %s", storeBound))
	defer cancel()
	_, nodes, err := buildxsetup.Nodes(bounded, x.Build)
	if err != nil {
		r := failed(err)
		if x.Build.Hosts == "" && ctx.Err() == nil {
			// Nothing was named: builds would start a buildkitd of their own.
			r.Status = doctor.Skip
		}
		return []doctor.Check{always(groupBuildKit, "builder", r)}
	}
	gate, _ := x.Build.Gate() // its settings were checked
	var checks []doctor.Check
	var names []string
	asked := make([]*builderNode, len(nodes))
	for i, n := range nodes {
		asked[i] = &builderNode{n, gate}
		names = append(names, "node "+n.Name)
		checks = append(checks, asked[i].checks()...)
	}
	if len(x.flags.platforms) > 0 {
		checks = append(checks, doctor.Check{Group: groupBuildKit, Topic: "wanted platforms", Needs: names, Ask: answers(func(context.Context) doctor.Result {
			return wantedPlatforms(asked, x.flags.platforms)
		})})
	}
	return checks
}

func (n *builderNode) checks() []doctor.Check {
	name := "node " + n.Name
	check := func(topic string, ask func(context.Context) doctor.Result, needs string) doctor.Check {
		c := doctor.Check{Group: groupBuildKit, Topic: topic, Name: name + " " + topic, Needs: []string{needs}, Ask: answers(ask)}
		return c
	}
	certificate, reached := check("certificate", n.certificate, ""), check("node", n.reached, name+" certificate")
	certificate.Needs, reached.Name = nil, name
	return []doctor.Check{
		certificate, reached,
		check("platforms", n.pinned, name), check("snapshotter", n.snapshotter, name), check("disk", n.diskRoom, name), check("cache", n.cacheRoom, name),
		{Group: groupBuildKit, Topic: "policy", Name: name + " policy", Needs: []string{name}, Ask: n.policy},
	}
}

// certificate looks at both sides of mutual TLS.
func (n *builderNode) certificate(ctx context.Context) doctor.Result {
	c, err := n.Certificates(ctx)
	switch {
	case err != nil:
		return failed(ended(ctx, err))
	case c.Client == nil && strings.HasPrefix(n.Endpoint, "tcp://") && !loopback(n.Endpoint):
		return warned("set BUILDKIT_TLS_DIR to certificates, as deploy/make-certs.sh makes them, and let buildkitd ask for them", "plain text: whoever reaches %s can build, and run steps, there", n.Endpoint)
	case c.Client == nil:
		return ok("none is needed for %s", n.Endpoint)
	}
	texts := []string{"ours is valid until " + day(c.Client.NotAfter)}
	over := time.Until(c.Client.NotAfter) < soon
	if c.Server != nil {
		texts = append(texts, "the node's until "+day(c.Server.NotAfter))
		over = over || time.Until(c.Server.NotAfter) < soon
	}
	if over {
		return warned("make new certificates, as deploy/make-certs.sh does", "%s", strings.Join(texts, ", "))
	}
	return ok("%s", strings.Join(texts, ", "))
}

// loopback reports whether an endpoint leads to this machine, by its address.
func loopback(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// reached asks the node for its workers, which the other checks look at.
func (n *builderNode) reached(ctx context.Context) doctor.Result {
	start := time.Now()
	workers, err := n.Ping(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("buildkitd at %s: %w", n.Endpoint, context.Cause(ctx))
		}
		return failed(hint.With(err, "start its buildkitd, or correct BUILDKIT_HOST and BUILDKIT_TLS_DIR"))
	}
	latency := time.Since(start)
	n.Node = n.Answered(workers)
	text := fmt.Sprintf("BuildKit %s answers at %s in %s", workers[0].Version, n.Endpoint, latency.Round(time.Millisecond/10))
	const slow = 500 * time.Millisecond // a build asks a dozen times
	if latency > slow {
		return warned("look at the network to the node and at its load: every build asks it a dozen times", "%s", text)
	}
	return ok("%s", text)
}

// pinned compares what the operator expects of the node with what its workers offer.
func (n *builderNode) pinned(context.Context) doctor.Result {
	var native, emulated, missing []string
	said := n.Node
	said.Pinned = false
	said = said.Answered(n.Workers)
	for _, p := range n.Platforms {
		switch name := platforms.Format(p); {
		case said.Native(p):
			native = append(native, name)
		case said.Offers(p):
			emulated = append(emulated, name)
		default:
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		own := "unknown"
		if all := n.Workers[0].Platforms; len(all) > 0 {
			own = platforms.Format(all[0])
		}
		return failed(hint.With(fmt.Errorf("BUILDKIT_HOST pins %s to it, which is neither its own platform, %s, nor emulated: builds for it fail at their first RUN", strings.Join(missing, ", "), own),
			"register an emulator on the node's machine (packages qemu-user-static and binfmt-support, or docker run --privileged tonistiigi/binfmt --install all) and restart its buildkitd, which looks once; or take the platform out of BUILDKIT_HOST"))
	}
	text := "native: " + console.OrNone(native)
	if len(emulated) > 0 {
		text += "; emulated, several times slower: " + strings.Join(emulated, ", ")
	}
	return ok("%s", text)
}

// wantedPlatforms asks whether each is built by some node.
func wantedPlatforms(nodes []*builderNode, wanted []string) doctor.Result {
	var found, missing []string
	for _, name := range wanted {
		p, err := platforms.Parse(name)
		if err != nil {
			return failed(hint.With(fmt.Errorf("--platform %q is no platform", name), "name one like linux/arm64"))
		}
		if by := builds(nodes, p); by != "" {
			found = append(found, name+" "+by)
		} else {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return failed(hint.With(fmt.Errorf("no node builds for %s", strings.Join(missing, ", ")), "add a node with that processor to BUILDKIT_HOST, or register an emulator on the machine of one and restart its buildkitd"))
	}
	return ok("%s", strings.Join(found, ", "))
}

// builds says which node builds for p, and how; empty is none.
func builds(nodes []*builderNode, p ocispecs.Platform) string {
	emulated := ""
	for _, n := range nodes {
		switch {
		case n.Native(p):
			return "on " + n.Name
		case n.Offers(p):
			emulated = cmp.Or(emulated, "emulated on "+n.Name)
		}
	}
	return emulated
}

func (n *builderNode) snapshotter(context.Context) doctor.Result {
	switch name := n.Workers[0].Labels[label.Snapshotter]; name {
	case "":
		return skipped("the worker does not name it")
	case "native":
		return failed(hint.With(errors.New("native: every step copies the whole file system, so that builds are slow and fill the disk"),
			"give buildkitd a root on ext4 or xfs, where overlayfs works; rootless on an old kernel, install fuse-overlayfs beside it; and take snapshotter = \"native\" out of its buildkitd.toml"))
	default:
		return ok("%s", name)
	}
}

// diskRoom compares what is free with what a build needs.
func (n *builderNode) diskRoom(ctx context.Context) doctor.Result {
	v, err := n.Volume(ctx)
	if err != nil || v.Size <= 0 {
		return skipped("cannot be seen from here")
	}
	text := fmt.Sprintf("%s of %s free", buildkitconf.Human(v.Free), buildkitconf.Human(v.Size))
	if v.Type != "" {
		text += ", " + v.Type
	}
	switch v.Type {
	case "nfs", "cifs", "smb2", "9p":
		return failed(hint.With(errors.New(text), "give buildkitd a root on a disk of the machine: overlays and the locks of its databases do not work here"))
	}
	const advice = "run dockless builder prune; dockless builder inspect shows how much of the cache can go, the rest of the disk is something else's"
	switch {
	case n.gate != nil && v.Free < n.gate.Least(v):
		return failed(hint.With(fmt.Errorf("%s: no build starts with less than %s (DOCKLESS_BUILDER_MIN_FREE)", text, buildkitconf.Human(n.gate.Least(v))), advice))
	case v.Free < v.Size/50:
		return failed(hint.With(errors.New(text), advice))
	case v.Free < v.Size/10:
		return warned(advice, "%s", text)
	}
	return ok("%s", text)
}

// cacheRoom compares the cache with its ceiling.
func (n *builderNode) cacheRoom(ctx context.Context) doctor.Result {
	bounded, cancel := context.WithTimeout(ctx, usageBound)
	defer cancel()
	usage, err := n.Usage(bounded)
	if err != nil && bounded.Err() != nil {
		return skipped("it takes longer than %s to add up; dockless builder inspect waits for it", usageBound)
	}
	if err != nil {
		return failed(hint.With(err, "look into the log of its buildkitd"))
	}
	text := fmt.Sprintf("%s, %s reclaimable", buildkitconf.Human(usage.Bytes), buildkitconf.Human(usage.Reclaimable))
	most, _ := n.Ceiling()
	if most <= 0 {
		return ok("%s", text)
	}
	text += "; ceiling " + buildkitconf.Human(most)
	if usage.Bytes > most+most/20 { // BuildKit looks after builds only: a little above is usual
		return warned("run dockless builder prune, or wait for the builds that run: BuildKit removes nothing that is in use", "%s", text)
	}
	return ok("%s", text)
}

// policy asks whether the limits of the cache hold.
func (n *builderNode) policy(ctx context.Context) []doctor.Result {
	v, err := n.Volume(ctx)
	if err != nil {
		v = buildkitconf.Volume{}
	}
	var out []doctor.Result
	for _, f := range buildkitconf.LintRunning(n.Workers[0].GC, n.Workers[0].Labels, v) {
		if f.Rule == "native-snapshotter" {
			continue // said above
		}
		out = append(out, resultOf(f))
	}
	if allOK(out) {
		most, free := n.Ceiling()
		text := "has a ceiling of " + buildkitconf.Human(most)
		if most == 0 {
			text = "has no ceiling but a free space to keep"
		}
		if free > 0 {
			text += ", leaves " + buildkitconf.Human(free) + " free"
		}
		out = append([]doctor.Result{ok("%s", text)}, out...)
	}
	return out
}
