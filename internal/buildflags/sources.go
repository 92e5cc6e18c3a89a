package buildflags

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/util/archiveutil"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// sources reads where the Dockerfile and the contexts are.
func (f *Flags) sources(c *collector, s Surroundings, r *imagebuild.Request, context string) {
	if context == "-" && f.file == "-" {
		c.errs = append(c.errs, hint.With(errors.New("the context and --file both want standard input"), "name a directory as the context, or the Dockerfile's path"))
	}
	if (context == "-" || f.file == "-") && s.Stdin == nil {
		c.errs = append(c.errs, hint.With(errors.New("there is no standard input to read the context or --file from"), "name a directory and a Dockerfile"))
	}
	remote := context == "-" || context != "" && !isDir(s.path(context)) && imagebuild.IsRemote(context)
	switch {
	case context == "-":
	case remote:
		r.Context = context
	default:
		r.Context = s.path(context)
	}
	switch {
	case f.file == "" || f.file == "-":
	case isURL(f.file) || remote:
		r.Dockerfile = f.file
	default:
		r.Dockerfile = s.path(f.file)
	}
	for _, text := range f.contexts {
		name, place, err := parseContext(text, s)
		if err != nil {
			c.note("build-context", err)
			continue
		}
		if r.Contexts == nil {
			r.Contexts = make(map[string]string)
		}
		r.Contexts[name] = place
	}
	ssh := f.ssh
	if len(ssh) == 0 && imagebuild.IsGitSSH(r.Context) {
		ssh = []string{"default"} // what the repository is fetched with
	}
	r.SSH = each(c, "ssh", ssh, func(v string) (imagebuild.SSH, error) { return ParseSSH(v, s) })
}

// parseContext reads a value of --build-context.
func parseContext(text string, s Surroundings) (name, place string, err error) {
	name, place, found := strings.Cut(text, "=")
	if !found || name == "" || place == "" {
		return "", "", hint.With(fmt.Errorf("%q is not NAME=PLACE", text), "write --build-context NAME=DIRECTORY, a URL, docker-image://IMAGE or oci-layout://DIRECTORY:TAG")
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", "", hint.With(fmt.Errorf("%q is no name of a context", name), "use a stage's name or an image's, in lower case")
	}
	name = strings.TrimSuffix(reference.FamiliarString(named), ":latest") // the frontend looks for this form
	const layout = "oci-layout://"
	switch dir, isLayout := strings.CutPrefix(place, layout); {
	case isLayout:
		return name, layout + s.path(dir), nil
	case isDir(s.path(place)):
		return name, s.path(place), nil
	case strings.HasPrefix(place, "docker-image://") || imagebuild.IsRemote(place):
		return name, place, nil
	default:
		return "", "", hint.With(fmt.Errorf("the context %s: there is no directory %s", name, s.path(place)), "write --build-context NAME=DIRECTORY, a URL, docker-image://IMAGE or oci-layout://DIRECTORY:TAG")
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isURL(place string) bool {
	return strings.HasPrefix(place, "http://") || strings.HasPrefix(place, "https://")
}

// sniffed is how many bytes tell an archive from a Dockerfile: two headers of tar.
const sniffed = 1024

// standardInput gives r what comes on standard input: the Dockerfile, or the
// context as an archive, or as docker allows in its place a Dockerfile alone.
func (f *Flags) standardInput(s Surroundings, r *imagebuild.Request, context string) error {
	if f.file == "-" {
		r.DockerfileText = s.Stdin
		return nil
	}
	if context != "-" {
		return nil
	}
	in := bufio.NewReaderSize(s.Stdin, sniffed)
	head, err := in.Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the context from standard input: %w", err)
	}
	switch {
	case len(head) == 0:
		return hint.With(errors.New("reading the context from standard input: it is empty"), "write a tar archive or a Dockerfile to it")
	case archiveutil.IsArchive(head):
		r.ContextArchive, err = spool(in)
		if err != nil {
			return fmt.Errorf("reading the context from standard input: %w", err)
		}
	case f.file != "":
		return hint.With(errors.New("standard input is no tar archive, and --file names another Dockerfile"), "leave out --file, or write a tar archive to standard input")
	default:
		r.DockerfileText = in
	}
	return nil
}

// spool keeps a stream where each solve of a build can read it: in a file that
// has no name any more, and goes with the process.
func spool(in io.Reader) (*io.SectionReader, error) {
	file, err := os.CreateTemp("", "dockless-context-*")
	if err != nil {
		return nil, err
	}
	err = os.Remove(file.Name())
	size, cerr := io.Copy(file, in)
	if err := errors.Join(err, cerr); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return io.NewSectionReader(file, 0, size), nil
}
