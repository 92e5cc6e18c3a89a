package gitsource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/dockless-ci/dockless/runner/internal/plainfile"
)

// The credentials of a persistent checkout are written between these lines, by
// this package and not by git, whose command line everybody on the machine can
// read.
const (
	begin = "# credentials of the running job"
	end   = "# end of credentials"
)

func (s *Source) configFile() string { return s.file("config") }

// persist writes the credentials into the configuration of the repository.
func (s *Source) persist(context.Context) error {
	site, ok := s.site()
	if !s.Persist || s.Credentials == "" || !ok || strings.ContainsAny(s.Credentials+site, "\"\\\n\r") {
		return nil
	}
	data, err := s.read(s.configFile())
	if err != nil {
		return fmt.Errorf("keeping the credentials: %w", err)
	}
	section := fmt.Sprintf("%s\n[http %q]\n\textraheader = \"AUTHORIZATION: %s\"\n%s\n", begin, site, s.Credentials, end)
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data, '\n')
	}
	return s.replace(append(data, section...), 0o600)
}

// Forget removes credentials from the configuration: those of this package and
// any header or proxy that somebody else left there.
func (s *Source) Forget(context.Context) error {
	data, err := s.read(s.configFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing credentials: %w", err)
	}
	cleaned := withoutCredentials(data)
	if bytes.Equal(cleaned, data) {
		return nil
	}
	return s.replace(cleaned, 0o644)
}

// withoutCredentials drops the lines of a git configuration that carry them,
// and sections of addresses that are empty then.
func withoutCredentials(data []byte) []byte {
	var out [][]byte
	inside, http := false, false
	for line := range bytes.Lines(data) {
		text := strings.ToLower(strings.TrimSpace(string(line)))
		switch {
		case text == begin:
			inside = true
			continue
		case text == end:
			inside = false
			continue
		case inside:
			continue
		case strings.HasPrefix(text, "["):
			http = strings.HasPrefix(text, "[http")
		case http && (strings.HasPrefix(text, "extraheader") || strings.HasPrefix(text, "proxy")):
			continue
		}
		out = append(out, line)
	}
	return bytes.Join(out, nil)
}

// replace writes the configuration.
func (s *Source) replace(data []byte, mode fs.FileMode) error {
	if err := plainfile.Replace(s.configFile()+".new", s.configFile(), bytes.NewReader(data), mode); err != nil {
		return fmt.Errorf("writing the configuration of the repository: %w", err)
	}
	return nil
}
