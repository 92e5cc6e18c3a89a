package jobcache

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Spec is what a task asks for: its key, and the beginnings of other keys that
// would do. Each is a list of segments.
type Spec struct {
	Key     []string
	Restore [][]string
	OldForm bool // the key has lines instead of segments
}

const saltName = "AZP_CACHING_SALT"

var errOldForm = errors.New("a key with line breaks and restoreKeys exclude each other")

// Parse splits the inputs key and restoreKeys. A salt that is not empty comes
// before every key, so that changing it forgets all.
func Parse(key, restoreKeys, salt string) (Spec, error) {
	s := Spec{OldForm: strings.Contains(strings.TrimSpace(key), "\n")}
	var err error
	restore := strings.TrimSpace(restoreKeys)
	switch {
	case s.OldForm && restore != "":
		return s, hint.With(errOldForm, "write the key in one line, with | between its segments")
	case s.OldForm: // without the salt, as ever
		s.Key, err = segments(key, "\n", "")
	default:
		s.Key, err = segments(key, "|", salt)
	}
	if err != nil {
		return s, fmt.Errorf("the input key: %w", err)
	}
	for line := range strings.Lines(restore) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		one, err := segments(line, "|", salt)
		if err != nil {
			return s, fmt.Errorf("the input restoreKeys: %w", err)
		}
		s.Restore = append(s.Restore, one)
	}
	return s, nil
}

func segments(text, separator, salt string) ([]string, error) {
	var out []string
	if salt = strings.TrimSpace(salt); salt != "" {
		out = append(out, saltName+"="+salt)
	}
	count := len(out)
	for part := range strings.SplitSeq(text, separator) {
		if part == "" {
			continue
		}
		part = strings.TrimSpace(part)
		if err := check(part); err != nil {
			return nil, err
		}
		out = append(out, part)
	}
	if len(out) == count {
		return nil, errors.New("it is empty")
	}
	return out, nil
}

// check refuses the segments that are reserved.
func check(segment string) error {
	switch {
	case segment == "":
		return errors.New("a segment of it is blank")
	case segment == "*" || segment == "**":
		return hint.With(fmt.Errorf("the segment %s is reserved", segment), "write ./%s for files", segment)
	case segment[0] == '\'' || segment[0] == '`':
		return fmt.Errorf("the segment %s begins with a character that is reserved", segment)
	}
	return nil
}

// namesFiles reports whether a segment is a pattern for files rather than a text.
func namesFiles(segment string) bool {
	if len(segment) > 1 && segment[0] == '"' && segment[len(segment)-1] == '"' {
		return false
	}
	return !strings.ContainsRune(segment, 0) && strings.ContainsAny(segment, "./") && !strings.HasSuffix(segment, ".")
}
