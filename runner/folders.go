package runner

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
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/plainfile"
	"github.com/dockless-ci/dockless/runner/internal/tidy"
)

// folders are the directories of one job (protocol §8.16).
type folders struct {
	work, pipeline, sources, artifacts, binaries, results, temp, tools string
	kit                                                                string // what the containers of the job need of the agent
}

// mapping remembers which pipeline uses which numbered directory of a work
// folder. It is kept in SourceRootMapping/mapping.json there.
type mapping struct {
	Last    int            `json:"last"`
	Folders map[string]int `json:"folders"` // collection, definition and repositories → number
}

// findFolders says where the directories of the job are.
func (x *execution) findFolders(_ context.Context, n *node) error {
	n.print("Preparing the work folder.")
	number, err := x.pipelineNumber()
	if err != nil {
		return err
	}
	work := x.cfg.Work
	pipeline := filepath.Join(work, strconv.Itoa(number))
	x.folders = folders{
		work: work, pipeline: pipeline, sources: filepath.Join(pipeline, "s"), artifacts: filepath.Join(pipeline, "a"),
		binaries: filepath.Join(pipeline, "b"), results: filepath.Join(pipeline, "TestResults"),
		temp: tempDir(work), tools: filepath.Join(work, "_tool"),
		kit: filepath.Join(work, "_dockless"),
	}
	if tools, ok := x.cfg.environ("AGENT_TOOLSDIRECTORY"); ok && tools != "" {
		// A task would take a relative one to be below its own directory.
		if x.folders.tools, err = filepath.Abs(tools); err != nil {
			return fmt.Errorf("finding AGENT_TOOLSDIRECTORY %s: %w", tools, err)
		}
	}
	return nil
}

// cleanFolders makes the directories of the job, cleaned as it asks.
func (x *execution) cleanFolders(ctx context.Context, _ *node) error {
	f := x.folders
	remove := []string{f.artifacts, f.results, f.kit}
	switch x.clean() {
	case "outputs":
		remove = append(remove, f.binaries)
	case "resources", "src": // src is the word of build.clean
		remove = append(remove, f.sources)
	case "all":
		remove = append(remove, f.pipeline)
	}
	for _, dir := range remove {
		if err := tidy.Remove(ctx, dir); err != nil {
			return fmt.Errorf("cleaning the workspace: %w", err)
		}
	}
	if err := f.emptyTemp(ctx); err != nil {
		return err
	}
	for _, dir := range []string{f.sources, f.artifacts, f.binaries, f.results, f.tools, filepath.Join(f.work, "_tasks")} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // containers of the job read it as other users
			return fmt.Errorf("making the work folder: %w", err)
		}
	}
	return nil
}

// clean returns what the job wants deleted first: what its workspace says, else
// the variable build.clean of designer pipelines (protocol §8.16). "" is nothing.
func (x *execution) clean() string {
	if x.m.Workspace != nil && x.m.Workspace.Clean != "" {
		return strings.ToLower(x.m.Workspace.Clean)
	}
	return strings.ToLower(strings.TrimSpace(x.said("build.clean")))
}

func tempDir(work string) string { return filepath.Join(work, "_temp") }

// RemoveTemp removes what a dead job left in the temp directory of the work folder: its
// scripts, with its secrets expanded in them. It stops when ctx ends.
func RemoveTemp(ctx context.Context, work string) error {
	if err := tidy.Remove(ctx, tempDir(work)); err != nil {
		return fmt.Errorf("removing the temporary files of an earlier job: %w", err)
	}
	return nil
}

// emptyTemp empties the directory for scripts and other short-lived files,
// which may hold secrets, so nobody else may look into it.
func (f folders) emptyTemp(ctx context.Context) error {
	if f.temp == "" {
		return nil
	}
	if err := tidy.Remove(ctx, f.temp); err != nil {
		return fmt.Errorf("emptying the temp directory: %w", err)
	}
	if err := os.MkdirAll(f.work, 0o755); err != nil { //nolint:gosec // as in cleanFolders
		return fmt.Errorf("making the work folder: %w", err)
	}
	if err := os.Mkdir(f.temp, 0o700); err != nil { // not MkdirAll: it takes what somebody else put there
		return fmt.Errorf("making the temp directory: %w", err)
	}
	return nil
}

// pipelineNumber finds the directory number of this pipeline, or gives it one.
func (x *execution) pipelineNumber() (int, error) {
	file := filepath.Join(x.cfg.Work, "SourceRootMapping", "mapping.json")
	known := mapping{Folders: make(map[string]int)}
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("reading the work folder's map %s: %w", file, err)
	}
	key := x.pipelineKey()
	if number, ok := known.Folders[key]; ok {
		return number, nil
	}
	if known.Folders == nil {
		known.Folders = make(map[string]int)
	}
	known.Last++
	known.Folders[key] = known.Last
	if data, err = json.MarshalIndent(known, "", "  "); err != nil {
		return 0, fmt.Errorf("writing the work folder's map: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // as the work folder
		return 0, fmt.Errorf("making the work folder: %w", err)
	}
	if err := replaceFile(file, data, 0o600); err != nil {
		return 0, fmt.Errorf("writing the work folder's map: %w", err)
	}
	return known.Last, nil
}

// pipelineKey identifies the pipeline and its repositories.
func (x *execution) pipelineKey() string {
	value := func(name string) string { v, _ := job.Lookup(x.m.Variables, name); return v.Value }
	parts := []string{strings.ToLower(value("system.collectionId")), value("system.definitionId")}
	for _, r := range x.m.Resources.Repositories {
		parts = append(parts, strings.ToLower(r.Alias)+"="+r.Text("type")+":"+r.Text("id"))
	}
	return strings.Join(parts, "/")
}

// replaceFile writes a file that is there whole or not at all.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	return plainfile.Replace(path+".new", path, bytes.NewReader(data), mode)
}

// open opens a file as far as the job may read it. Every file goes this way that
// the job names, or could put a link in the place of, and of whose content it gets
// to see something: the agent itself can read what is hidden from jobs. It opens
// regular files and directories only: a pipe or a device need never end.
func (x *execution) open(path string) (*os.File, error) {
	f, err := x.veil.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// maxRead bounds what is read of one file into memory, in bytes: files of settings
// and Dockerfiles, and the output that docker tasks keep, are far smaller.
const maxRead = 64 << 20

// readFile reads a file as [execution.open] opens it, up to 64 MiB.
func (x *execution) readFile(path string) ([]byte, error) {
	f, err := x.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(io.LimitReader(f, maxRead+1))
	if err == nil && len(data) > maxRead {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxRead>>20)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}
