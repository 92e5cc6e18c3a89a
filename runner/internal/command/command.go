// Package command knows the grammar of logging commands: lines of a step's
// output such as ##vso[task.setvariable variable=tag]v1, which tell the agent
// to do something (protocol §8.9). It reads them and writes nothing.
package command

import (
	"bytes"
	"errors"
	"strings"
)

// Prefix opens a command.
const Prefix = "##vso["

// marker is what makes a line suspicious: with it but without a command the
// line is worth a warning.
const marker = "##vso"

// ErrMalformed says that a line has the marker of a command but is none.
var ErrMalformed = errors.New("the line contains ##vso but is no command of the form ##vso[area.event key=value;…]data")

// Command is one logging command. Area and Event are in lower case, and so are
// the keys of Properties; values and Data are unescaped.
type Command struct {
	Area, Event string
	Properties  map[string]string
	Data        string
}

// Name returns "area.event".
func (c Command) Name() string { return c.Area + "." + c.Event }

// Property returns the property name, which is given in lower case.
func (c Command) Property(name string) string { return c.Properties[name] }

// Suspect reports whether text may hold a command. It is cheap, and true for
// every line that [Parse] does not pass over.
func Suspect(text []byte) bool { return bytes.Contains(text, []byte(marker)) }

// Parse reads the command in line, which has no line ending. found is false
// for a line without one; err is then nil, or [ErrMalformed] when the line
// looks as if it was meant to be one.
func Parse(line []byte, decodePercents bool) (c Command, found bool, err error) {
	if !Suspect(line) {
		return Command{}, false, nil
	}
	_, rest, ok := bytes.Cut(line, []byte(Prefix))
	if !ok {
		return Command{}, false, ErrMalformed
	}
	head, data, ok := bytes.Cut(rest, []byte("]"))
	if !ok {
		return Command{}, false, ErrMalformed
	}
	name, properties, _ := strings.Cut(string(head), " ")
	area, event, ok := strings.Cut(name, ".")
	if !ok || area == "" || event == "" || strings.Contains(event, ".") {
		return Command{}, false, ErrMalformed
	}
	c = Command{
		Area: strings.ToLower(area), Event: strings.ToLower(event),
		Properties: make(map[string]string),
		Data:       Unescape(string(data), decodePercents),
	}
	for pair := range strings.SplitSeq(strings.TrimSpace(properties), ";") {
		key, value, ok := strings.Cut(pair, "=")
		if ok && key != "" && value != "" {
			c.Properties[strings.ToLower(key)] = Unescape(value, decodePercents)
		}
	}
	return c, true, nil
}

var unescaper = strings.NewReplacer("%3B", ";", "%0D", "\r", "%0A", "\n", "%5D", "]")

// Unescape turns the escapes of a property value or of data back into what
// they stand for. The percent sign itself, %AZP25, comes last and only when
// decodePercents is set, so that an escaped escape is not decoded twice.
func Unescape(text string, decodePercents bool) string {
	if !strings.Contains(text, "%") {
		return text
	}
	text = unescaper.Replace(text)
	if decodePercents {
		text = strings.ReplaceAll(text, "%AZP25", "%")
	}
	return text
}

// Disarm makes text harmless: every ##vso in it, in any case, becomes **vso.
func Disarm(text string) string {
	for i := 0; i+len(marker) <= len(text); i++ {
		if text[i] == '#' && strings.EqualFold(text[i:i+len(marker)], marker) {
			text = text[:i] + "**" + text[i+2:]
		}
	}
	return text
}
