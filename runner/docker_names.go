package runner

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// dockerNames returns the full names of the image that a Docker step means:
// each name with each tag, or without tags when there are none (language §5.4).
func dockerNames(repository string, registries, tags []string) []string {
	repository = strings.ToLower(strings.Join(strings.Fields(repository), ""))
	if repository == "" {
		return nil
	}
	bases := []string{repository}
	if len(registries) > 0 {
		bases = bases[:0]
		for _, r := range registries {
			if isHub(r) {
				bases = append(bases, repository)
			} else {
				bases = append(bases, strings.ToLower(r)+"/"+repository)
			}
		}
	}
	if len(tags) == 0 {
		return bases
	}
	var names []string
	for _, base := range bases {
		for _, tag := range tags {
			names = append(names, base+":"+tag)
		}
	}
	return names
}

// splitTags reads the input tags: one on each line, or separated by commas.
func splitTags(text string) []string {
	return slices.DeleteFunc(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' || r == '\r' }),
		func(tag string) bool { return strings.TrimSpace(tag) == "" })
}

const hubHost = "index.docker.io"

func isHub(host string) bool {
	return host == hubHost || host == "docker.io" || host == "registry-1.docker.io"
}

// registryHost returns host[:port] of a registry's address, which may lack a
// scheme, and whether it is spoken to without TLS.
func registryHost(address string) (host string, insecure bool) {
	address = strings.TrimSpace(address)
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", false
	}
	return u.Host, u.Scheme == "http"
}

// findFile resolves an input that names a file, what: the first match of a
// pattern below root, or the path as it is.
func findFile(what, root, pattern string) (string, error) {
	if !strings.ContainsAny(pattern, "*?") {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(root, pattern)
		}
		if _, err := os.Stat(pattern); err != nil {
			return "", fmt.Errorf("looking for the %s: %w", what, err)
		}
		return pattern, nil
	}
	relative := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(pattern, root), string(filepath.Separator)))
	if !strings.Contains(relative, "/") {
		relative = "**/" + relative // a pattern of a name alone matches anywhere
	}
	var found []string
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		inside, err := filepath.Rel(root, file)
		if err == nil && matches(strings.Split(relative, "/"), strings.Split(filepath.ToSlash(inside), "/")) {
			found = append(found, file)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("looking for the %s: %w", what, err)
	}
	if len(found) == 0 {
		return "", fmt.Errorf("no file below %s matches the %s pattern %q", root, what, pattern)
	}
	slices.Sort(found)
	return found[0], nil
}

// matches reports whether the segments of a path match those of a pattern,
// where ** stands for any number of segments.
func matches(pattern, segments []string) bool {
	if len(pattern) == 0 {
		return len(segments) == 0
	}
	if pattern[0] == "**" {
		for i := range len(segments) + 1 {
			if matches(pattern[1:], segments[i:]) {
				return true
			}
		}
		return false
	}
	if len(segments) == 0 {
		return false
	}
	ok, err := path.Match(pattern[0], segments[0])
	return err == nil && ok && matches(pattern[1:], segments[1:])
}

// reversedHost returns the host of a URL with its labels in reverse order,
// com.azure.dev for https://dev.azure.com/x: the prefix of labels.
func reversedHost(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	parts := strings.Split(u.Hostname(), ".")
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}

// imageLabels returns the labels that Docker@2 gives an image (language §5.4).
func (x *execution) imageLabels(pipelineData bool) map[string]string {
	prefix := reversedHost(x.vars.Value("system.teamFoundationCollectionUri"))
	if prefix == "" {
		return nil
	}
	names := []string{"system.teamfoundationcollectionuri", "build.sourceversion"}
	if pipelineData {
		names = append(names, "system.teamproject", "build.repository.name", "build.repository.uri",
			"build.sourcebranchname", "build.definitionname", "build.buildnumber", "build.builduri")
	}
	labels := make(map[string]string)
	for _, name := range names {
		if v, ok := x.vars.Get(name); ok && v.Value != "" && !v.Secret {
			labels[prefix+".image."+name] = v.Value
		}
	}
	return labels
}

// baseImage returns the image that the last stage of a Dockerfile starts from,
// without its digest, or "" when it cannot be told without building.
func baseImage(dockerfile []byte) string {
	aliases := make(map[string]string)
	last := ""
	for line := range strings.Lines(string(dockerfile)) {
		words := strings.Fields(line)
		if len(words) < 2 || !strings.EqualFold(words[0], "FROM") {
			continue
		}
		words = slices.DeleteFunc(words[1:], func(w string) bool { return strings.HasPrefix(w, "--") })
		if len(words) == 0 {
			continue
		}
		last = words[0]
		if base, ok := aliases[strings.ToLower(last)]; ok {
			last = base
		}
		if len(words) >= 3 && strings.EqualFold(words[1], "AS") {
			aliases[strings.ToLower(words[2])] = last
		}
	}
	last, _, _ = strings.Cut(last, "@")
	if strings.Contains(last, "$") || strings.EqualFold(last, "scratch") {
		return ""
	}
	return last
}
