package bake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/dockless-ci/dockless/internal/hint"
)

// usualFiles are read, as many as there are, when none is named. The order and
// the names are those of buildx.
var usualFiles = []string{
	"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml",
	"docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl",
}

// maxFile bounds one file: more than anybody writes, less than what hurts.
const maxFile = 16 << 20

// File is one bake or compose file. Its name is the one errors have.
type File struct {
	Name string
	Data []byte
}

// Read reads the files that names names, "-" being stdin, or all of the usual
// ones that the working directory has.
func Read(names []string, stdin io.Reader) ([]File, error) {
	usual := len(names) == 0
	if usual {
		names = usualFiles
	}
	var out []File
	for _, name := range names {
		name = strings.TrimPrefix(name, herePrefix)
		if strings.Contains(name, "://") {
			return nil, hint.With(fmt.Errorf("the bake file %s is not on this machine", name), "check the repository out and name the file in it")
		}
		data, err := readFile(name, stdin)
		if usual && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, hint.With(fmt.Errorf("reading bake files: %w", err), "name an existing file with --file")
		}
		out = append(out, File{Name: name, Data: data})
	}
	if len(out) == 0 {
		return nil, hint.With(errors.New("there is no bake file in the working directory"),
			"name one with --file; the usual names are %s", strings.Join(usualFiles, ", "))
	}
	return out, nil
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // read only
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return data, err
}

// language is what a file is written in.
type language int

const (
	hclFile language = iota
	jsonFile
	composeFile
)

// language goes by the name, and where that says nothing by the content.
func (f File) language() language {
	switch strings.ToLower(filepath.Ext(f.Name)) {
	case ".yml", ".yaml":
		return composeFile
	case ".json":
		return jsonFile
	case ".hcl":
		return hclFile
	}
	var top map[string]any
	isJSON := json.Valid(f.Data)
	if isJSON {
		if json.Unmarshal(f.Data, &top) != nil {
			return jsonFile
		}
	} else if len(f.Data) == 0 || yaml.Unmarshal(f.Data, &top) != nil {
		return hclFile
	}
	switch _, services := top["services"]; {
	case services:
		return composeFile
	case isJSON:
		return jsonFile
	}
	return hclFile
}

// Options say what is wanted of files, and what they see of the world. The zero
// value wants the target default and shows them nothing.
type Options struct {
	Targets []string          // names or patterns; empty is "default"
	Set     []string          // overrides, PATTERN.key=value as of --set
	Vars    map[string]string // values of variables, stronger than the environment
	Environ []string          // KEY=value, as of os.Environ
}

// lookup returns the value of a variable from outside of the files.
func (o Options) lookup(name string) (string, bool) {
	if v, ok := o.Vars[name]; ok {
		return v, true
	}
	for _, entry := range slices.Backward(o.Environ) {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			return v, true
		}
	}
	return "", false
}

func (o Options) environment() map[string]string {
	out := make(map[string]string, len(o.Environ))
	for _, entry := range o.Environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			out[name] = value
		}
	}
	return out
}

// define reads files that are all in languages of ours.
func define(ctx context.Context, files []File, o Options) (*definition, error) {
	d := &definition{vars: newVariables(o.lookup)}
	var compose, ours []File
	for _, f := range files {
		switch f.language() {
		case composeFile:
			compose = append(compose, f)
		case jsonFile:
			ours = append(ours, f)
		default:
			if len(bytes.TrimSpace(f.Data)) > 0 {
				return nil, &Error{File: f.Name, Text: "HCL is evaluated by the buildx plugin only", beyond: true}
			}
		}
	}
	if len(compose) > 0 {
		if err := d.addCompose(ctx, compose, o); err != nil {
			return nil, err
		}
	}
	return d, d.addJSON(ours)
}
