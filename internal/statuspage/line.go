package statuspage

import (
	"bytes"
	"slices"
	"strconv"
)

// lineKind is what a line of a log is, by the mark that it begins with.
type lineKind int

const (
	plainLine lineKind = iota
	groupLine
	endgroupLine
	sectionLine
	commandLine
	debugLine
	warningLine
	errorLine
)

// marks are those that the page of a run knows. The class is that of the line, the
// word stands before its text: colour alone tells not everybody.
var marks = []struct {
	mark, class, word string
	kind              lineKind
}{
	{"##[group]", "group", "", groupLine},
	{"##[endgroup]", "", "", endgroupLine},
	{"##[section]", "section", "", sectionLine},
	{"##[command]", "command", "", commandLine},
	{"##[debug]", "debug", "debug", debugLine},
	{"##[warning]", "warning", "warning", warningLine},
	{"##[error]", "error", "error", errorLine},
}

// readLine takes the mark off a line.
func readLine(line []byte) (kind lineKind, class, word string, text []byte) {
	if len(line) > 2 && line[0] == '#' && line[1] == '#' {
		for _, m := range marks {
			if rest, ok := bytes.CutPrefix(line, []byte(m.mark)); ok {
				return m.kind, m.class, m.word, rest
			}
		}
	}
	return plainLine, "", "", line
}

// appendLine appends one line as the element tag.
func appendLine(dst []byte, tag string, number int, class, word string, text []byte) []byte {
	dst = append(dst, '<')
	dst = append(dst, tag...)
	dst = append(dst, ` class="l`...)
	if class != "" {
		dst = append(dst, ' ')
		dst = append(dst, class...)
	}
	dst = append(dst, `" id="L`...)
	dst = strconv.AppendInt(dst, int64(number), 10)
	// A thousand links between somebody's keyboard and the next thing are left out.
	dst = append(dst, `"><a tabindex="-1" href="#L`...)
	dst = strconv.AppendInt(dst, int64(number), 10)
	dst = append(dst, `">`...)
	dst = strconv.AppendInt(dst, int64(number), 10)
	dst = append(dst, `</a><span>`...)
	if word != "" {
		dst = append(dst, `<b class="word">`...)
		dst = append(dst, word...)
		dst = append(dst, `</b> `...)
	}
	dst = appendText(dst, text)
	dst = append(dst, "</span></"...)
	dst = append(dst, tag...)
	return append(dst, '>')
}

// operation is what a line of a log does to the part of a page that shows it.
type operation byte

const (
	addLine    operation = 'l'
	beginGroup operation = 'g' // the HTML is its summary; it ends a group that is open
	endGroup   operation = 'e'
)

// eachOperation renders the lines of a log. The HTML is valid during the call only.
func eachOperation(log Log, yield func(o operation, kind lineKind, html []byte)) {
	var buf []byte
	before := log.First - 1
	for i, line := range log.Lines {
		number := log.number(i)
		if missing := number - before - 1; missing > 0 {
			buf = append(append(buf[:0], `<p class="gap">… `...), plural(missing, "line")...)
			yield(addLine, plainLine, append(buf, " not sent live …</p>\n"...))
		}
		before = number
		kind, class, word, text := readLine(line)
		o, tag := addLine, "div"
		switch kind {
		case groupLine:
			o, tag = beginGroup, "summary"
		case endgroupLine:
			yield(endGroup, kind, nil)
			continue
		case plainLine, sectionLine, commandLine, debugLine, warningLine, errorLine:
		}
		buf = append(appendLine(buf[:0], tag, number, class, word, text), '\n')
		yield(o, kind, buf)
	}
}

// appendLog appends a log for a page that is loaded. A group that has ended is
// folded, unless an error is in it; one that has not stays open, and what comes
// goes into it. There is no tree: a group ends with the next one.
func appendLog(dst []byte, log Log) []byte {
	size := 0
	for _, line := range log.Lines {
		size += len(line) + len(line)/4 + 96 // what appendLine puts around it
	}
	dst = slices.Grow(dst, size)
	var group []byte // of the open group, its summary first; empty: none is open
	failed := false
	end := func(start string) {
		if len(group) > 0 {
			dst = append(append(append(dst, start...), group...), "</details>\n"...)
			group = group[:0]
		}
	}
	ended := func() {
		if failed {
			end("<details open>")
		}
		end("<details>")
	}
	eachOperation(log, func(o operation, kind lineKind, html []byte) {
		switch {
		case o == endGroup:
			ended()
		case o == beginGroup:
			ended()
			group, failed = append(group, html...), false
		case len(group) > 0:
			group, failed = append(group, html...), failed || kind == errorLine
		default:
			dst = append(dst, html...)
		}
	})
	if log.Open {
		end(`<details open class="last">`)
	}
	end("<details open>")
	return dst
}

// operations renders lines for a page that shows those before already, each text
// an operation and its HTML.
func operations(log Log) []string {
	var out []string
	var lines []byte
	flush := func() {
		if len(lines) > 0 {
			out = append(out, string(addLine)+string(lines))
			lines = lines[:0]
		}
	}
	eachOperation(log, func(o operation, _ lineKind, html []byte) {
		if o == addLine {
			lines = append(lines, html...)
			return
		}
		flush()
		out = append(out, string(o)+string(html))
	})
	flush()
	return out
}

// appendPlain appends the end of a log without numbers and groups.
func appendPlain(dst []byte, log Log) []byte {
	for _, line := range log.Lines {
		kind, class, word, text := readLine(line)
		if kind == endgroupLine {
			continue
		}
		if class != "" {
			dst = append(append(append(dst, `<span class="`...), class...), `">`...)
		}
		if word != "" {
			dst = append(append(dst, word...), ": "...)
		}
		dst = appendText(dst, text)
		if class != "" {
			dst = append(dst, "</span>"...)
		}
		dst = append(dst, '\n')
	}
	return dst
}
