package doctorcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/hint"
)

func allOK(results []doctor.Result) bool {
	for _, r := range results {
		if r.Status != doctor.OK {
			return false
		}
	}
	return true
}

// resultOf shows a finding.
func resultOf(f buildkitconf.Finding) doctor.Result {
	r := doctor.Result{Status: doctor.OK, Detail: f.Text, Hint: f.Hint}
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
			return doctor.Check{}, hint.With(cmdline.Usagef("--volume-size %q is no size", size), "write a size like 100GB")
		}
		around.Stat = func(string) (buildkitconf.Volume, error) { return buildkitconf.Volume{Size: n}, nil }
	}
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return doctor.Check{}, cmdline.Unusable(fmt.Errorf("reading --buildkitd-config: %w", err))
		}
		defer func() { _ = f.Close() }() // it was only read
		stdin = f
	}
	text, err := io.ReadAll(io.LimitReader(stdin, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("it is larger than %d bytes", maxConfig)
	}
	if err != nil {
		return doctor.Check{}, cmdline.Unusable(fmt.Errorf("reading --buildkitd-config: %w", err))
	}
	return doctor.Check{Group: groupBuildKit, Topic: "buildkitd.toml", Ask: func(context.Context) []doctor.Result {
		var out []doctor.Result
		for _, f := range buildkitconf.Lint(string(text), around) {
			out = append(out, resultOf(f))
		}
		if allOK(out) {
			out = append([]doctor.Result{ok("its limits hold")}, out...)
		}
		return out
	}}, nil
}
