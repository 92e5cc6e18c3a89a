package pipeline

import (
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// checkoutID is the task id of checkout, which is part of every agent.
const checkoutID = "6d15af64-176c-496d-b583-fd2ae21d4df4"

// task is what the service knows about a task and an agent cannot find out.
type task struct {
	name    string
	id      string
	version string // exact; the service pins one for each major
	// title is the display name of a step that has none; $(input) stands for an input.
	title string
	// aliases are other names of inputs: alias → canonical name.
	aliases map[string]string
	// defaults are the inputs that title mentions.
	defaults map[string]string
}

func (t task) major() string {
	major, _, _ := strings.Cut(t.version, ".")
	return major
}

// checkout is not in the table: nobody may call it as a task.
var checkout = task{name: "Checkout", id: checkoutID, version: "1.0.0"}

// findTask resolves Name@Major, Name@1.2.3, the same with an id, and a contribution's
// full name. The second result says what is wrong, the third what to do about it.
func (d *decoder) findTask(reference string) (t task, problem, advice string) {
	name, version, ok := strings.Cut(reference, "@")
	if !ok || name == "" || strings.Trim(version, "0123456789.") != "" || version == "" {
		return t, "Unexpected value '" + reference + "': a task is written Name@Version", ""
	}
	short := name[strings.LastIndexByte(name, '.')+1:]
	var known, majors []string
	all := slices.Clone(tasks)
	for _, extra := range d.given.Tasks {
		all = append(all, task{name: extra.Name, id: extra.ID, version: extra.Version})
	}
	for _, t := range all {
		known = append(known, t.name)
		if !strings.EqualFold(t.name, short) && !strings.EqualFold(t.id, name) {
			continue
		}
		if major, _, exact := strings.Cut(version, "."); major == t.major() {
			if exact {
				t.version = version
			}
			return t, "", ""
		}
		majors = append(majors, t.name+"@"+t.major())
	}
	if len(majors) > 0 {
		return t, "The task '" + reference + "' is not known in this version", "use " + strings.Join(majors, " or ")
	}
	return t, "The task '" + reference + "' is not known: without its id it cannot run", near(short, known)
}

// near returns advice that lists the names that look like name, or "".
func near(name string, known []string) string {
	var close []string
	slices.Sort(known)
	for _, candidate := range slices.Compact(known) {
		if distance(strings.ToLower(name), strings.ToLower(candidate)) <= 1+len(name)/4 {
			close = append(close, candidate)
		}
	}
	if len(close) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(close, " or ") + "?"
}

// distance is the number of letters to insert, delete or change to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// canonical returns the name of an input that alias may be another name of.
func (t task) canonical(alias string) string {
	for other, name := range t.aliases {
		if strings.EqualFold(other, alias) {
			return name
		}
	}
	return alias
}

// displayName is the title of a step with these inputs.
func (t task) displayName(inputs map[string]string) string {
	if t.title == "" {
		return t.name
	}
	title := expandMacros(t.title, func(name string) (string, bool) {
		if value, ok := job.Lookup(inputs, name); ok {
			return value, true
		}
		return t.defaults[name], true
	})
	return strings.TrimSpace(title)
}
