// Package buildflags reads the flags of `docker buildx build`, wherever they are
// typed: on our command line, or in the inputs of a task.
package buildflags

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tonistiigi/go-csvvalue"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// Surroundings are what the values of flags refer to beside themselves.
type Surroundings struct {
	Dir       string                      // directory that relative paths start from; empty is the working directory
	LookupEnv func(string) (string, bool) // environment of the caller; nil is empty
	Stdin     io.Reader                   // where "-" reads; nil makes "-" an error
	Stdout    io.Writer                   // where "-" writes; nil makes "-" an error
	// Open opens the files of secrets; nil is os.Open.
	Open func(path string) (*os.File, error)
}

func (s Surroundings) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(s.Dir, p)
}

func (s Surroundings) lookup(name string) (string, bool) {
	if s.LookupEnv == nil {
		return "", false
	}
	return s.LookupEnv(name)
}

// fields splits a comma-separated list of key=value, with the quoting of CSV, as
// all such flags of docker use. A field without "=" has found set to false.
func fields(value string, each func(key, value string, found bool) error) error {
	list, err := csvvalue.Fields(value, nil)
	if err != nil {
		return fmt.Errorf("%q is no comma-separated list: %w", value, err)
	}
	for _, f := range list {
		key, v, found := strings.Cut(f, "=")
		if err := each(strings.ToLower(strings.TrimSpace(key)), v, found); err != nil {
			return err
		}
	}
	return nil
}

// ParseSecret reads a value of --secret: id=name with src=file or env=variable.
// With neither, the variable of that name is meant, else the file. The value
// itself is read when a build starts.
func ParseSecret(flag string, s Surroundings) (imagebuild.Secret, error) {
	var id, src, env, kind string
	err := fields(flag, func(key, value string, found bool) error {
		if !found {
			return fmt.Errorf("--secret %q: %q is not key=value", flag, key)
		}
		switch key {
		case "id":
			id = value
		case "src", "source":
			src = value
		case "env":
			env = value
		case "type":
			if value != "file" && value != "env" {
				return fmt.Errorf("--secret %q: there is no type %q", flag, value)
			}
			kind = value
		default:
			return fmt.Errorf("--secret %q: there is no setting %q", flag, key)
		}
		return nil
	})
	if err == nil && id == "" {
		err = fmt.Errorf("--secret %q has no id", flag)
	}
	if err == nil && src != "" && env != "" {
		err = fmt.Errorf("--secret %q has two sources", id)
	}
	if err != nil {
		return imagebuild.Secret{}, hint.With(err, "write --secret id=name,src=file or --secret id=name,env=VARIABLE")
	}
	if kind == "env" && env == "" {
		env, src = src, ""
	}
	if src == "" && env == "" {
		if _, ok := s.lookup(id); ok || kind == "env" {
			env = id
		} else {
			src = id
		}
	}
	if env != "" {
		return SecretFromEnv(id, env, s.LookupEnv), nil
	}
	return secretFromFile(id, s.path(src), s.Open), nil
}

// SecretFromEnv is a secret with the value of a variable, found by lookup.
func SecretFromEnv(id, variable string, lookup func(string) (string, bool)) imagebuild.Secret {
	return imagebuild.Secret{ID: id, Open: func(context.Context) ([]byte, error) {
		if lookup != nil {
			if v, ok := lookup(variable); ok {
				return []byte(v), nil
			}
		}
		return nil, hint.With(fmt.Errorf("the variable %s of secret %s is not set", variable, id),
			"map the variable into the environment of the step that builds")
	}}
}

// secretFromFile is a secret with the content of a file.
func secretFromFile(id, file string, open func(string) (*os.File, error)) imagebuild.Secret {
	if open == nil {
		open = os.Open
	}
	return imagebuild.Secret{ID: id, Open: func(context.Context) ([]byte, error) {
		data, err := readAll(file, open)
		if err != nil {
			return nil, hint.With(fmt.Errorf("reading secret %s: %w", id, err), "name an existing file with --secret id=%s,src=file", id)
		}
		return data, nil
	}}
}

func readAll(file string, open func(string) (*os.File, error)) ([]byte, error) {
	f, err := open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return io.ReadAll(f)
}

// ParseSSH reads a value of --ssh: default or id, then optionally =socket or
// =key[,key]. Without a path the agent of SSH_AUTH_SOCK is meant.
func ParseSSH(flag string, s Surroundings) (imagebuild.SSH, error) {
	id, list, _ := strings.Cut(flag, "=")
	out := imagebuild.SSH{ID: id}
	if id == "" {
		return imagebuild.SSH{}, hint.With(fmt.Errorf("--ssh %q has no id", flag), "write --ssh default or --ssh id=path")
	}
	for p := range strings.SplitSeq(list, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out.Paths = append(out.Paths, s.path(p))
		}
	}
	if len(out.Paths) == 0 {
		sock, _ := s.lookup("SSH_AUTH_SOCK")
		if sock == "" {
			return imagebuild.SSH{}, hint.With(fmt.Errorf("--ssh %q names no agent and SSH_AUTH_SOCK is not set", flag), "start an ssh-agent, or write --ssh %s=path", id)
		}
		out.Paths = []string{sock}
	}
	return out, nil
}

// ParseCache reads a value of --cache-from or --cache-to: type=…,key=value…, or
// an image name alone for type=registry.
func ParseCache(flag string) (buildcache.Entry, error) {
	out := buildcache.Entry{Attrs: make(map[string]string)}
	bare := 0
	err := fields(flag, func(key, value string, found bool) error {
		switch {
		case !found:
			bare++
		case key == "type":
			out.Type = value
		default:
			out.Attrs[key] = value
		}
		return nil
	})
	if err != nil {
		return buildcache.Entry{}, err
	}
	if bare == 1 && out.Type == "" && len(out.Attrs) == 0 && !strings.Contains(flag, ",") {
		out.Type, out.Attrs["ref"] = "registry", strings.TrimSpace(flag)
		bare = 0
	}
	switch {
	case bare > 0:
		return buildcache.Entry{}, fmt.Errorf("cache %q: not every part is key=value", flag)
	case out.Type == "":
		return buildcache.Entry{}, hint.With(fmt.Errorf("cache %q has no type", flag), "write type=registry,ref=registry/repository:tag")
	case out.Type == "registry" && out.Attrs["ref"] == "":
		return buildcache.Entry{}, hint.With(fmt.Errorf("cache %q has no ref", flag), "write type=registry,ref=registry/repository:tag")
	}
	return out, nil
}

// ParseAttestation reads a value of --sbom or --provenance: a boolean, or
// settings. It reports whether there is one.
func ParseAttestation(flag string) (settings string, wanted bool, err error) {
	if flag == "" {
		return "", false, nil
	}
	if b, err := strconv.ParseBool(flag); err == nil {
		return "", b, nil
	}
	disabled := false
	var rest []string
	err = fields(flag, func(key, value string, found bool) (err error) {
		switch {
		case !found:
			return hint.With(fmt.Errorf("%q is neither true nor false nor key=value", key), "write true, false, or settings like mode=max")
		case key == "disabled":
			if disabled, err = strconv.ParseBool(value); err != nil {
				return hint.With(fmt.Errorf("disabled=%s of an attestation is neither true nor false", value), "write disabled=true or leave it out")
			}
		default:
			rest = append(rest, quoted(key+"="+value))
		}
		return nil
	})
	if err != nil || disabled {
		return "", false, err
	}
	return strings.Join(rest, ","), true, nil
}

// parseAttest reads a value of --attest: type=… and what [ParseAttestation] reads.
func parseAttest(flag string) (kind, settings string, err error) {
	var rest []string
	err = fields(flag, func(key, value string, found bool) error {
		switch {
		case !found:
			return fmt.Errorf("%q is not key=value", key)
		case key == "type":
			kind = value
		default:
			rest = append(rest, quoted(key+"="+value))
		}
		return nil
	})
	if err == nil && kind != "sbom" && kind != "provenance" {
		err = fmt.Errorf("there is no attestation of type %q", kind)
	}
	if err != nil {
		return "", "", hint.With(err, "write --attest type=sbom or --attest type=provenance,mode=max")
	}
	return kind, strings.Join(rest, ","), nil
}

// quoted is a field as [fields] reads it.
func quoted(field string) string {
	if !strings.ContainsAny(field, ",\"\n") {
		return field
	}
	return `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
}

// ParsePairs reads values of --build-arg and --label. A key without "=" takes
// its value from lookup, as docker does for build arguments, and is left out
// when that has none; without lookup its value is empty.
func ParsePairs(flags []string, lookup func(string) (string, bool)) (map[string]string, error) {
	out := make(map[string]string, len(flags))
	for _, flag := range flags {
		key, value, found := strings.Cut(flag, "=")
		if key == "" {
			return nil, errors.New("there is a value without a name: " + strconv.Quote(flag))
		}
		if !found && lookup != nil {
			v, ok := lookup(key)
			if !ok {
				continue
			}
			value = v
		}
		out[key] = value
	}
	return out, nil
}
