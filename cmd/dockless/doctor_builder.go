package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/containerd/platforms"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/hint"
)

// builderChecks are those of the builder: one for each node.
func builderChecks(ctx context.Context, c buildxsetup.Config) []doctor.Check {
	_, nodes, err := buildxsetup.Nodes(ctx, c)
	if err != nil {
		r := doctor.Result{Name: "builder", Status: doctor.Fail, Detail: oneLine(err.Error()), Hint: strings.Join(hint.All(err), "; ")}
		if c.Hosts == "" {
			// Nothing was named: builds would start a buildkitd of their own.
			r.Status = doctor.Skip
		}
		return []doctor.Check{{Name: r.Name, Ask: func(context.Context) []doctor.Result { return []doctor.Result{r} }}}
	}
	checks := make([]doctor.Check, len(nodes))
	for i, n := range nodes {
		checks[i] = doctor.Check{Name: "node " + n.Name, Ask: func(ctx context.Context) []doctor.Result { return nodeResults(n.Inspect(ctx)) }}
	}
	return checks
}

// nodeResults says what a node's answers mean.
func nodeResults(s buildxsetup.NodeStatus) []doctor.Result {
	name := "node " + s.Name
	if s.Err != nil {
		return []doctor.Result{{
			Name: name, Status: doctor.Fail, Detail: oneLine(s.Err.Error()),
			Hint: "start its buildkitd, or correct BUILDKIT_HOST and BUILDKIT_TLS_DIR",
		}}
	}
	return append([]doctor.Result{reached(name, s), snapshotter(name, s), diskRoom(name, s), cacheRoom(name, s)}, policyResults(name, s)...)
}

func reached(name string, s buildxsetup.NodeStatus) doctor.Result {
	var native, emulated []string
	for _, p := range s.Platforms {
		if s.Native(p) {
			native = append(native, platforms.Format(p))
		} else {
			emulated = append(emulated, platforms.Format(p))
		}
	}
	r := doctor.Result{Name: name, Status: doctor.OK, Detail: fmt.Sprintf("BuildKit %s answers in %s; native: %s", s.Workers[0].Version, s.Latency.Round(time.Millisecond/10), orNone(native))}
	if len(emulated) > 0 {
		r.Detail += "; emulated, several times slower: " + strings.Join(emulated, ", ")
	}
	const slow = 500 * time.Millisecond // a build asks a dozen times
	if s.Latency > slow {
		r.Status, r.Hint = doctor.Warn, "look at the network to the node and at its load: every build asks it a dozen times"
	}
	return r
}

func snapshotter(name string, s buildxsetup.NodeStatus) doctor.Result {
	r := doctor.Result{Name: name + " snapshotter", Status: doctor.OK, Detail: s.Workers[0].Labels[labelSnapshotter]}
	switch r.Detail {
	case "":
		r.Status, r.Detail = doctor.Skip, "the worker does not name it"
	case "native":
		r.Status, r.Detail = doctor.Warn, "native: it copies the whole file system for each step"
		r.Hint = "give buildkitd a root on ext4 or xfs, or install fuse-overlayfs beside it"
	}
	return r
}

// diskRoom compares what is free with what a build needs.
func diskRoom(name string, s buildxsetup.NodeStatus) doctor.Result {
	r := doctor.Result{Name: name + " disk", Status: doctor.OK}
	v := s.Volume
	if v.Size <= 0 {
		r.Status, r.Detail = doctor.Skip, "cannot be seen from here"
		return r
	}
	r.Detail = fmt.Sprintf("%s of %s free", buildkitconf.Human(v.Free), buildkitconf.Human(v.Size))
	if v.Type != "" {
		r.Detail += ", " + v.Type
	}
	switch v.Type {
	case "nfs", "cifs", "smb2", "9p":
		r.Status, r.Hint = doctor.Fail, "give buildkitd a root on a disk of the machine: overlays and the locks of its databases do not work here"
		return r
	}
	switch {
	case v.Free < v.Size/50:
		r.Status = doctor.Fail
	case v.Free < v.Size/10:
		r.Status = doctor.Warn
	default:
		return r
	}
	r.Hint = "run dockless builder prune"
	if s.Usage.Reclaimable < v.Size/20 {
		r.Hint = fmt.Sprintf("remove what else is on the disk: of the build cache, only %s can go", buildkitconf.Human(s.Usage.Reclaimable))
	}
	return r
}

// cacheRoom compares the cache with its ceiling.
func cacheRoom(name string, s buildxsetup.NodeStatus) doctor.Result {
	most, _ := buildkitconf.Ceiling(s.Workers[0].GC)
	r := doctor.Result{Name: name + " cache", Status: doctor.OK, Detail: fmt.Sprintf("%s, %s reclaimable", buildkitconf.Human(s.Usage.Bytes), buildkitconf.Human(s.Usage.Reclaimable))}
	if most <= 0 {
		return r
	}
	r.Detail += fmt.Sprintf("; ceiling %s", buildkitconf.Human(most))
	if s.Usage.Bytes > most+most/20 { // BuildKit looks after builds only: a little above is usual
		r.Status, r.Hint = doctor.Warn, "run dockless builder prune, or wait for the builds that run: BuildKit removes nothing that is in use"
	}
	return r
}

func policyResults(name string, s buildxsetup.NodeStatus) []doctor.Result {
	var out []doctor.Result
	for _, f := range buildkitconf.LintRunning(s.Workers[0].GC, s.Workers[0].Labels, s.Volume) {
		if f.Rule == "native-snapshotter" {
			continue // said above
		}
		out = append(out, resultOf(name+" policy", f))
	}
	if doctorAllOK(out) {
		most, free := buildkitconf.Ceiling(s.Workers[0].GC)
		text := "has a ceiling of " + buildkitconf.Human(most)
		if most == 0 {
			text = "has no ceiling but a free space to keep"
		}
		if free > 0 {
			text += ", leaves " + buildkitconf.Human(free) + " free"
		}
		out = append([]doctor.Result{{Name: name + " policy", Status: doctor.OK, Detail: text}}, out...)
	}
	return out
}

func doctorAllOK(results []doctor.Result) bool {
	for _, r := range results {
		if r.Status != doctor.OK {
			return false
		}
	}
	return true
}

// resultOf shows a finding.
func resultOf(name string, f buildkitconf.Finding) doctor.Result {
	r := doctor.Result{Name: name, Status: doctor.OK, Detail: f.Text, Hint: f.Hint}
	switch f.Level {
	case buildkitconf.Fault:
		r.Status = doctor.Fail
	case buildkitconf.Warning:
		r.Status = doctor.Warn
	case buildkitconf.Remark:
		r.Detail = "note: " + f.Text
	}
	if f.Line > 0 {
		r.Detail = fmt.Sprintf("line %d: %s", f.Line, r.Detail)
	}
	r.Detail += " [" + f.Rule + "]"
	return r
}

// maxConfig bounds a buildkitd.toml: real ones have a few kilobytes.
const maxConfig = 1 << 20

// fileCheck reads a buildkitd.toml.
func fileCheck(file, size string, stdin io.Reader) (doctor.Check, error) {
	around := buildkitconf.Surroundings{Stat: func(root string) (buildkitconf.Volume, error) {
		if _, err := os.Stat(root); err != nil {
			return buildkitconf.Volume{}, errors.New("it is not on this machine; give its size with --volume-size")
		}
		return buildkitconf.StatVolume(root)
	}}
	if size != "" {
		n, err := buildkitconf.ParseSize(size)
		if err != nil {
			return doctor.Check{}, hint.With(usagef("--volume-size %q is no size", size), "write a size like 100GB")
		}
		around.Stat = func(string) (buildkitconf.Volume, error) { return buildkitconf.Volume{Size: n}, nil }
	}
	name := "buildkitd.toml"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return doctor.Check{}, usageError{fmt.Errorf("reading --buildkitd-config: %w", err)}
		}
		defer func() { _ = f.Close() }() // it was only read
		stdin = f
	}
	text, err := io.ReadAll(io.LimitReader(stdin, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("it is larger than %d bytes", maxConfig)
	}
	if err != nil {
		return doctor.Check{}, usageError{fmt.Errorf("reading --buildkitd-config: %w", err)}
	}
	return doctor.Check{Name: name, Ask: func(context.Context) []doctor.Result {
		var out []doctor.Result
		for _, f := range buildkitconf.Lint(string(text), around) {
			out = append(out, resultOf(name, f))
		}
		if doctorAllOK(out) {
			out = append([]doctor.Result{{Name: name, Status: doctor.OK, Detail: "its limits hold"}}, out...)
		}
		return out
	}}, nil
}
