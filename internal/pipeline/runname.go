package pipeline

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// defaultRunName is the format of a file without name.
const defaultRunName = "$(Date:yyyyMMdd).$(Rev:r)"

// maxRunName is how long the name of a run may be.
const maxRunName = 255

// runName evaluates the name format of the file.
func (p *Pipeline) runName() string {
	o := p.options
	known := new(table)
	for name, v := range o.Variables {
		known.set(name, v)
	}
	for _, v := range p.variables {
		v.flags.Value = v.value
		known.set(v.name, v.flags)
	}
	known.merge(readOnly(o.templateNames()))
	now := o.Now.UTC()
	name := expandMacros(cmp.Or(strings.TrimSpace(p.Name), defaultRunName), func(name string) (string, bool) {
		word, format, _ := strings.Cut(name, ":")
		switch strings.ToLower(word) {
		case "date":
			return formatDotNet(now.Format, format), true
		case "rev":
			return fmt.Sprintf("%0*d", max(1, len(format)), cmp.Or(o.Revision, 1)), true
		case "builddefinitionname":
			return o.Definition, true
		case "buildid":
			return strconv.Itoa(o.buildID()), true
		case "dayofmonth":
			return strconv.Itoa(now.Day()), true
		case "dayofyear":
			return strconv.Itoa(now.YearDay()), true
		case "hours":
			return strconv.Itoa(now.Hour()), true
		case "minutes":
			return strconv.Itoa(now.Minute()), true
		case "month":
			return strconv.Itoa(int(now.Month())), true
		case "seconds":
			return strconv.Itoa(now.Second()), true
		case "sourcebranchname":
			text, _ := known.text("Build.SourceBranchName")
			return text, true
		case "teamproject":
			return cmp.Or(o.Project, "local"), true
		case "year":
			return formatDotNet(now.Format, format), true
		}
		v, ok := known.get(name)
		if v.IsSecret {
			v.Value = "***"
		}
		return strings.ReplaceAll(v.Value, "/", "_"), ok
	})
	if runes := []rune(name); len(runes) > maxRunName {
		return string(runes[:maxRunName])
	}
	return name
}

// dateParts maps a run of equal letters of a .NET date format to a layout.
var dateParts = map[string]string{
	"yyyy": "2006", "yy": "06", "MMMM": "January", "MMM": "Jan", "MM": "01", "M": "1",
	"dddd": "Monday", "ddd": "Mon", "dd": "02", "d": "2", "HH": "15", "hh": "03", "h": "3",
	"mm": "04", "m": "4", "ss": "05", "s": "5", "tt": "PM",
}

// formatDotNet prints a date by a .NET format; what is no specifier stays.
func formatDotNet(print func(layout string) string, format string) string {
	var b strings.Builder
	for format != "" {
		end := 1
		for end < len(format) && format[end] == format[0] {
			end++
		}
		run := format[:end]
		format = format[end:]
		switch layout, ok := dateParts[run]; {
		case ok:
			b.WriteString(print(layout))
		case run == "H":
			b.WriteString(strings.TrimPrefix(print("15"), "0"))
		default:
			b.WriteString(run)
		}
	}
	return b.String()
}
