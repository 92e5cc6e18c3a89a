package buildkitconf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// ParseSize reads a size as BuildKit does: "100GB", "100Gi" and "100g" are all
// 100 × 2^30 bytes, and a plain number is bytes.
func ParseSize(text string) (int64, error) {
	// Kubernetes writes "100Gi"; units wants a b behind the i.
	n, err := units.RAMInBytes(strings.TrimSuffix(text, "i"))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no size", text)
	}
	return n, nil
}

// sizeText writes n as BuildKit reads it, rounded down: whole gigabytes from ten
// on, megabytes below.
func sizeText(n int64) string {
	if n >= 10*gb || n >= gb && n%gb == 0 {
		return strconv.FormatInt(n/gb, 10) + "GB"
	}
	return strconv.FormatInt(n/mb, 10) + "MB"
}

// Human writes n bytes for people, in the same units.
func Human(n int64) string {
	return strings.TrimSuffix(units.CustomSize("%.4g%s", float64(n), 1024, []string{"B", "KB", "MB", "GB", "TB", "PB", "EB"}), " ")
}

// space is an amount of disk in a configuration: bytes, or a share of the volume.
type space struct{ bytes, percent int64 }

func (s space) zero() bool { return s == space{} }

// of returns the bytes on a volume of size bytes; ok is false when s is a share
// and the size is not known.
func (s space) of(size int64) (n int64, ok bool) {
	switch {
	case s.bytes != 0 || s.percent == 0:
		return s.bytes, true
	case size <= 0:
		return 0, false
	}
	return size / 100 * s.percent, true
}

func (s space) String() string {
	if s.bytes == 0 && s.percent != 0 {
		return strconv.FormatInt(s.percent, 10) + "%"
	}
	return Human(s.bytes)
}

// over reports whether s is more than o, as far as that is known.
func (s space) over(o space, size int64) bool {
	if s.bytes == 0 && o.bytes == 0 {
		return s.percent > o.percent
	}
	a, aok := s.of(size)
	b, bok := o.of(size)
	return aok && bok && a > b
}

var errNoSpace = errors.New(`no amount of disk; write "20GB", "10%" or a number of bytes`)

// parseSpace reads what stands in a configuration.
func parseSpace(text string) (space, error) {
	if share, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.ParseInt(share, 10, 64)
		if err != nil || n < 0 || n > 100 {
			return space{}, errNoSpace
		}
		return space{percent: n}, nil
	}
	if text == "" {
		return space{}, nil
	}
	n, err := units.RAMInBytes(text)
	if err != nil {
		return space{}, errNoSpace
	}
	return space{bytes: n}, nil
}
