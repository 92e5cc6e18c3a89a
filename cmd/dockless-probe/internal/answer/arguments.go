//go:build linux && (amd64 || arm64)

package answer

import (
	"time"
	"unsafe"

	"github.com/dockless-ci/dockless/probe"
)

// parse reads a command line as the kernel keeps it, the command's name first,
// each argument followed by NUL. The strings in the request are parts of it. A
// complaint says what is wrong.
func parse(line []byte) (r request, complaint string) {
	r.file = probe.DefaultFile
	_, line = next(line)
	verb, line := next(line)
	switch verb {
	case "live":
		r.question = probe.IsLive
	case "ready":
		r.question = probe.IsReady
	case "":
		return r, "nothing was asked"
	default:
		return r, "the question is neither live nor ready"
	}
	for len(line) > 0 {
		var argument string
		argument, line = next(line)
		name, value, attached := cut(argument)
		if !attached {
			if len(line) == 0 && known(name) {
				return r, "the last flag has no value"
			}
			value, line = next(line)
		}
		switch name {
		case "--file", "-file":
			r.file = value
		case "--slot", "-slot":
			r.query.Slot = value
		case "--process", "-process":
			process, ok := processID(value)
			if !ok {
				return r, "--process is not the id of a process"
			}
			r.query.Process = process
		case "--max-age", "-max-age":
			age, ok := duration(value)
			if !ok {
				return r, "--max-age is not a duration above zero such as 30s or 1m30s"
			}
			r.query.MaxAge = age
		default:
			return r, "there is an argument that is no flag of this command"
		}
		if value == "" {
			return r, "a flag has an empty value"
		}
	}
	return r, ""
}

func known(name string) bool {
	switch name {
	case "--file", "-file", "--slot", "-slot", "--process", "-process", "--max-age", "-max-age":
		return true
	}
	return false
}

// next cuts the first argument off line.
func next(line []byte) (string, []byte) {
	for i, c := range line {
		if c == 0 {
			return text(line[:i]), line[i+1:]
		}
	}
	return text(line), nil
}

// text is bytes as a string without a copy: the command line never changes.
func text(bytes []byte) string {
	if len(bytes) == 0 {
		return ""
	}
	return unsafe.String(&bytes[0], len(bytes)) //nolint:gosec // see above
}

// cut splits --name=value.
func cut(argument string) (name, value string, attached bool) {
	for i := range len(argument) {
		if argument[i] == '=' {
			return argument[:i], argument[i+1:], true
		}
	}
	return argument, "", false
}

// processID reads a number that can be the id of a process: Linux has none of 2²² or above.
func processID(text string) (int, bool) {
	id := 0
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		if id = id*10 + int(text[i]-'0'); id >= 1<<22 {
			return 0, false
		}
	}
	return id, id > 0
}

// duration reads what time.ParseDuration reads, without fractions: that one
// allocates its errors. It accepts nothing below a nanosecond or above a year.
func duration(text string) (time.Duration, bool) {
	const limit = int64(365 * 24 * time.Hour)
	total := int64(0)
	for len(text) > 0 {
		n, digits := int64(0), 0
		for digits < len(text) && '0' <= text[digits] && text[digits] <= '9' {
			n = n*10 + int64(text[digits]-'0')
			if n > limit {
				return 0, false
			}
			digits++
		}
		text = text[digits:]
		unit, length := unitOf(text)
		if digits == 0 || length == 0 || n > limit/int64(unit) {
			return 0, false
		}
		total += n * int64(unit)
		if total > limit {
			return 0, false
		}
		text = text[length:]
	}
	return time.Duration(total), total > 0
}

// unitOf is the unit that text begins with, and the length of its name.
func unitOf(text string) (time.Duration, int) {
	two := ""
	if len(text) >= 2 {
		two = text[:2]
	}
	switch two {
	case "ns":
		return time.Nanosecond, 2
	case "us":
		return time.Microsecond, 2
	case "ms":
		return time.Millisecond, 2
	}
	if text == "" {
		return 0, 0
	}
	switch text[0] {
	case 's':
		return time.Second, 1
	case 'm':
		return time.Minute, 1
	case 'h':
		return time.Hour, 1
	}
	return 0, 0
}
