package pipeline

import (
	"cmp"
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
		return t, "Unexpected value '" + reference + "': a task is written Name@Version", d.otherTask(name)
	}
	short := name[strings.LastIndexByte(name, '.')+1:]
	var others []string
	for _, t := range d.tasks() {
		if !strings.EqualFold(t.name, short) && !strings.EqualFold(t.id, name) {
			continue
		}
		if major, _, exact := strings.Cut(version, "."); major == t.major() {
			if exact {
				t.version = version
			}
			return t, "", ""
		}
		others = append(others, t.written())
	}
	if len(others) > 0 {
		return t, "The task '" + reference + "' is not known in this version", "use " + strings.Join(others, " or ")
	}
	return t, "The task '" + reference + "' is not known: without its id it cannot run", d.otherTask(short)
}

// written is how a file names the task.
func (t task) written() string { return t.name + "@" + t.major() }

// tasks returns all tasks that the file may name.
func (d *decoder) tasks() []task {
	all := slices.Clone(tasks)
	for _, extra := range d.given.Tasks {
		all = append(all, task{name: extra.Name, id: extra.ID, version: extra.Version})
	}
	return all
}

// otherTask returns advice for a name that is no task's: the tasks with a name like it,
// or else what can be done without one.
func (d *decoder) otherTask(name string) string {
	var names, alike []string
	for _, t := range d.tasks() {
		names = append(names, t.name)
	}
	names = near(name, names)
	for _, t := range d.tasks() {
		if slices.Contains(names, t.name) {
			alike = append(alike, t.written())
		}
	}
	return cmp.Or(didYouMean(alike), "name one that is known here, or do what the task does in a script step")
}

// maxCompared is how long a name may be to be compared with others.
const maxCompared = 100

// near returns the names that look like name, sorted and each once.
func near(name string, known []string) []string {
	if len(name) > maxCompared {
		return nil
	}
	var alike []string
	slices.Sort(known)
	for _, candidate := range slices.Compact(known) {
		if distance(strings.ToLower(name), strings.ToLower(candidate)) <= 1+len(name)/4 {
			alike = append(alike, candidate)
		}
	}
	return alike
}

// didYouMean returns advice that lists names, and "" for none.
func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(names, " or ") + "?"
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
