package jobcache

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/match"
	"github.com/dockless-ci/dockless/runner/internal/untildone"
)

// Files say how segments find files.
type Files struct {
	Dir       string // where relative patterns count from
	Workspace string // what hashed paths are relative to
	Open      func(path string) (*os.File, error)
	Say       func(line string) // is told what each segment stands for
}

// Key is a list of segments in which patterns are replaced by the hash of the files
// they match. Two keys are the same when their texts are.
type Key []string

// String joins the segments.
func (k Key) String() string { return strings.Join(k, "|") }

// begins reports whether k begins with the segments of prefix.
func (k Key) begins(prefix Key) bool {
	return len(k) >= len(prefix) && slices.Equal(k[:len(prefix)], prefix)
}

// hash names the key in files and tags.
func (k Key) hash() string {
	return nameOf(k...)
}

// nameOf is a short name of texts, for files and tags.
func nameOf(texts ...string) string {
	var all strings.Builder
	for _, text := range texts {
		fmt.Fprintf(&all, "%d:%s", len(text), text)
	}
	sum := sha256.Sum256([]byte(all.String()))
	return hex.EncodeToString(sum[:hashBytes])
}

// hashBytes is how much of a SHA-256 names keys and scopes: enough that nobody
// finds a second text for a name.
const hashBytes = 16

// Resolve replaces the patterns among segments. A pattern that matches no file is
// an error.
func Resolve(ctx context.Context, segments []string, f Files) (Key, error) {
	key := make(Key, 0, len(segments))
	for _, segment := range segments {
		if !namesFiles(segment) {
			f.Say(" - " + segment + " [string]")
			key = append(key, segment)
			continue
		}
		hash, err := f.resolve(ctx, segment)
		if err != nil {
			return nil, err
		}
		key = append(key, hash)
	}
	return key, nil
}

func (f Files) resolve(ctx context.Context, segment string) (string, error) {
	var includes, excludes []string
	for rule := range strings.SplitSeq(segment, ",") {
		if rule = strings.TrimSpace(rule); rule == "" {
			continue
		}
		if without, ok := strings.CutPrefix(rule, "!"); ok {
			excludes = append(excludes, "!"+f.absolute(without))
		} else {
			includes = append(includes, f.absolute(rule))
		}
	}
	if len(includes) == 0 {
		return "", fmt.Errorf("the segment %s includes nothing", segment)
	}
	found, err := match.Find(ctx, f.Dir, append(includes, excludes...), match.Options{})
	if err != nil {
		return "", fmt.Errorf("looking for the files of segment %s: %w", segment, err)
	}
	slices.Sort(found) // by bytes
	pattern := strings.ContainsAny(segment, "*?[]")
	var all strings.Builder
	var shown []string
	for _, file := range found {
		info, err := os.Stat(file)
		if err != nil || info.IsDir() {
			continue
		}
		line, err := f.hash(ctx, file)
		if err != nil {
			return "", fmt.Errorf("hashing %s for the key: %w", file, err)
		}
		all.WriteString(line)
		shown = append(shown, "   - "+strings.TrimPrefix(line, "\n"))
	}
	switch {
	case len(shown) == 0 && pattern:
		return "", hint.With(fmt.Errorf("No matching files found for pattern: %s", segment), "put the segment into double quotes when it is a text") //nolint:staticcheck // the service's words
	case len(shown) == 0:
		return "", hint.With(fmt.Errorf("File not found: %s", segment), "put the segment into double quotes when it is a text") //nolint:staticcheck // the service's words
	case pattern || len(shown) > 1:
		f.Say(fmt.Sprintf(" - %s [file pattern; matches: %d]", segment, len(shown)))
	default:
		f.Say(fmt.Sprintf(" - %s [file]", segment))
	}
	for _, line := range shown {
		f.Say(line)
	}
	sum := sha256.Sum256([]byte(all.String()))
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

func (f Files) absolute(rule string) string {
	if filepath.IsAbs(rule) {
		return filepath.Clean(rule)
	}
	return filepath.Join(f.Dir, rule)
}

// hash returns the line that stands for one file in the hash of a pattern.
func (f Files) hash(ctx context.Context, file string) (string, error) {
	from, err := f.Open(file)
	if err != nil {
		return "", err
	}
	defer from.Close() //nolint:errcheck // read only
	sum := sha256.New()
	n, err := io.Copy(sum, untildone.Reader(ctx, from))
	if err != nil {
		return "", err
	}
	name := file
	if inside, err := filepath.Rel(f.Workspace, file); err == nil {
		name = filepath.ToSlash(inside)
	}
	return fmt.Sprintf("\nSHA256(%s)=[%d]%X", name, n, sum.Sum(nil)), nil
}
