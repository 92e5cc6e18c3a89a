package bake

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/buildflags"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/truepath"
)

// Entitlements that a build may need.
const (
	networkHost      = "network.host"
	securityInsecure = "security.insecure"
	device           = "device"
	localDelete      = "buildx.local.delete" // a local output that removes what it did not write
)

// Access is what a command lets bake files do beyond building from the working
// directory: whoever runs a file of somebody else's says so. The zero value is
// the working directory and nothing else.
type Access struct {
	Entitlements []string // network.host, security.insecure and device[=NAME] of steps, buildx.local.delete of outputs
	SSH          bool     // the agent of SSH_AUTH_SOCK
	Read, Write  []string // directories and files beside the working directory; "*" is every one
	// AnyFile turns the check of files off, as BUILDX_BAKE_ENTITLEMENTS_FS=0 does.
	AnyFile bool
}

// ParseAccess reads values of --allow.
func ParseAccess(flags []string) (Access, error) {
	var a Access
	for _, flag := range flags {
		key, value, found := strings.Cut(flag, "=")
		switch {
		case flag == networkHost, flag == securityInsecure, flag == localDelete, key == device:
			a.Entitlements = append(a.Entitlements, flag)
		case flag == "ssh":
			a.SSH = true
		case key == "fs.read" && found:
			a.Read = append(a.Read, value)
		case key == "fs.write" && found:
			a.Write = append(a.Write, value)
		case key == "fs" && found:
			a.Read, a.Write = append(a.Read, value), append(a.Write, value)
		case key == "image" || key == "image.push" || key == "image.load":
			// buildx takes them and asks for none.
		default:
			return Access{}, hint.With(fmt.Errorf("there is nothing called %q to allow", flag),
				"use network.host, security.insecure, device[=NAME], ssh, buildx.local.delete, fs=PATH, fs.read=PATH or fs.write=PATH")
		}
	}
	return a, nil
}

// granted is what overrides allow by naming it: who types a path on the command
// line means it.
func granted(sets []string) Access {
	var a Access
	for _, s := range sets {
		_, o, err := parseSet(s)
		if err != nil {
			continue // reported where they are applied
		}
		var t Target
		if o.key != "secret" || o.name == "" {
			if t, err = t.apply([]override{o}); err != nil {
				continue
			}
		} else if e, err := secretForm.parse(strings.Join(o.values, ",")); err == nil {
			t.Secrets = []Entry{e}
		}
		t.Context, t.Dockerfile, t.Contexts = nil, nil, nil // these buildx asks for all the same
		read, write := t.paths()
		a.Read, a.Write = append(a.Read, read...), append(a.Write, write...)
		a.Entitlements = append(a.Entitlements, t.Entitlements...)
	}
	return a
}

// paths returns the files and directories on this machine that building t reads
// and writes. It takes every value apart with what the build takes it apart with:
// where the two differed, a file could name one path here and another there.
func (t *Target) paths() (read, write []string) {
	if t.Context != nil && !remote(*t.Context) {
		read = append(read, *t.Context)
	}
	read = append(read, t.dockerfiles(read)...)
	for _, where := range t.places() {
		if dir, local := imagebuild.LocalContext(where); local {
			read = append(read, dir)
		}
	}
	for _, e := range t.Secrets {
		switch {
		case e["src"] != "":
			read = append(read, e["src"])
		case e["env"] == "":
			read = append(read, e["id"]) // a file, unless a variable is called so
		}
	}
	for _, s := range t.SSH {
		read = append(read, s.files()...)
	}
	for _, e := range t.CacheFrom {
		if c, err := buildflags.ParseCache(e.String()); err == nil && c.Attrs["src"] != "" && c.Type == "local" {
			read = append(read, c.Attrs["src"])
		}
	}
	for _, e := range t.CacheTo {
		if c, err := buildflags.ParseCache(e.String()); err == nil && c.Attrs["dest"] != "" && c.Type == "local" {
			write = append(write, c.Attrs["dest"])
		}
	}
	for _, e := range t.Outputs {
		if o, err := e.output(); err == nil && o.Dest != "" && o.Dest != "-" {
			write = append(write, o.Dest)
		}
	}
	return read, write
}

// dockerfiles returns the Dockerfile of t and the files that a build looks for in
// its place or beside it, unless they are in read.
func (t *Target) dockerfiles(read []string) []string {
	file, inside := t.dockerfile()
	if file == "" || inside || t.DockerfileInline != nil {
		return nil
	}
	var out []string
	if !within(file, read) {
		out = append(out, file)
	}
	others := []string{file + ".dockerignore"}
	if dir, name := filepath.Split(file); name == "Dockerfile" {
		others = append(others, dir+"dockerfile")
	}
	for _, name := range others {
		if _, err := os.Lstat(name); err == nil && !within(name, read) {
			out = append(out, name)
		}
	}
	return out
}

// files returns the sockets and keys of s; none is the agent of SSH_AUTH_SOCK.
func (s SSH) files() []string {
	agent, err := buildflags.ParseSSH(s.String(), buildflags.Surroundings{})
	if err != nil {
		return nil
	}
	return agent.Paths
}

// output reads an entry that is an output, wherever it writes.
func (e Entry) output() (imagebuild.Output, error) {
	return buildflags.ParseOutput(e.String(), buildflags.Surroundings{Stdout: io.Discard})
}

// Check reports everything that the plan needs and a does not allow, with the
// flags that would.
func (p *Plan) Check(a Access) error {
	allowed := slices.Concat(a.Entitlements, p.granted.Entitlements)
	readable := slices.Concat([]string{"."}, a.Read, p.granted.Read)
	writable := slices.Concat([]string{"."}, a.Write, p.granted.Write)
	var flags []string
	for _, name := range p.names() {
		t := p.Targets[name]
		for _, e := range t.Entitlements {
			isDevice := strings.HasPrefix(e, device+"=") && slices.Contains(allowed, device)
			if !isDevice && !slices.Contains(allowed, e) {
				flags = append(flags, e)
			}
		}
		deletes := func(e Entry) bool {
			o, err := e.output()
			return err == nil && o.Type == "local" && o.Attrs["mode"] == "delete"
		}
		if slices.ContainsFunc(t.Outputs, deletes) && !slices.Contains(allowed, localDelete) {
			flags = append(flags, localDelete)
		}
		if a.AnyFile {
			continue
		}
		if !a.SSH && slices.ContainsFunc(t.SSH, func(s SSH) bool { return len(s.files()) == 0 }) {
			flags = append(flags, "ssh")
		}
		read, write := t.paths()
		for _, path := range read {
			if !within(path, readable) {
				flags = append(flags, "fs.read="+path)
			}
		}
		for _, path := range write {
			if !within(path, writable) {
				flags = append(flags, "fs.write="+path)
			}
		}
	}
	slices.Sort(flags)
	flags = slices.Compact(flags)
	if len(flags) == 0 {
		return nil
	}
	for i, f := range flags {
		flags[i] = "--allow " + shellWord(f)
	}
	return hint.With(errors.New("the bake files ask for more than to build from the working directory"),
		"if you trust them with it, add %s", strings.Join(flags, " "))
}

// shellWord is s as a shell reads it, for people to copy.
func shellWord(s string) string {
	if strings.ContainsAny(s, " \t\n'\"\\$`*?[]()<>|;&!#~") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// within reports whether path is one of places or below one, links followed.
func within(path string, places []string) bool {
	return slices.ContainsFunc(places, func(place string) bool {
		return place == "*" || truepath.Within(path, place)
	})
}

// CheckOff reports whether a value of BUILDX_BAKE_ENTITLEMENTS_FS turns the check
// of files off.
func CheckOff(value string) bool {
	on, err := strconv.ParseBool(value)
	return err == nil && !on
}
