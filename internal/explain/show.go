package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxLines is how long the table in a log is: it stands at the end, where people
// look for what went wrong.
const maxLines = 20

// Table says in some lines of a log why steps ran: causes first, each with the
// steps that only ran because of it counted behind. It is empty when no step ran.
func Table(reasons []Reason) string {
	if len(reasons) == 0 {
		return ""
	}
	groups := group(reasons)
	var out strings.Builder
	fmt.Fprintf(&out, "why %s ran:\n", count(len(reasons), "step"))
	shownSteps := 0
	for i, g := range groups {
		if i == maxLines-1 && len(groups) > maxLines {
			fmt.Fprintf(&out, "  and %s more, see the summary\n", count(len(reasons)-shownSteps, "step"))
			break
		}
		shownSteps += len(g.steps)
		name := cleanTo(g.steps[0].Step, 60)
		if n := len(g.steps) - 1; n > 0 {
			name += fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(&out, "  %s: %s\n", name, cleanTo(g.steps[0].Text, 400))
		if followers := g.followers; followers > 0 {
			shownSteps += followers
			fmt.Fprintf(&out, "    and %s that build on it\n", count(followers, "step"))
		}
	}
	return out.String()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// cause is one reason with the steps that have it.
type cause struct {
	steps     []Reason
	followers int // steps rebuilt because of these
}

// group puts steps of one cause together, and steps that were rebuilt because of
// another one with that.
func group(reasons []Reason) []cause {
	var out []cause
	at := make(map[string]int) // cause by the name of a step
	for _, r := range reasons {
		if r.Kind == ParentRebuilt {
			continue
		}
		i := slices.IndexFunc(out, func(c cause) bool { return c.steps[0].Kind == r.Kind && c.steps[0].Text == r.Text })
		if i < 0 {
			i = len(out)
			out = append(out, cause{})
		}
		out[i].steps = append(out[i].steps, r)
		at[r.Step] = i
	}
	for _, r := range reasons {
		if r.Kind != ParentRebuilt {
			continue
		}
		if i, ok := at[r.Parent]; ok {
			out[i].followers++
			at[r.Step] = i
			continue
		}
		out = append(out, cause{steps: []Reason{r}})
		at[r.Step] = len(out) - 1
	}
	slices.SortStableFunc(out, func(a, b cause) int { return cmp.Compare(weight(a), weight(b)) })
	return out
}

// weight puts what somebody changed before what merely is so.
func weight(c cause) int {
	switch c.steps[0].Kind {
	case Evicted, NeverExported, FirstBuild, Undescribed:
		return 1
	}
	return 0
}

// Summary is what [Markdown] tells of a build.
type Summary struct {
	Names     []string // of the image
	Digest    string
	Platforms []string
	Nodes     []string
	Steps     int
	Cached    int
	Duration  time.Duration
	Saved     time.Duration // zero: unknown
	Reasons   []Reason
	Exports   []Export
}

// Export is what became of the export of a cache.
type Export struct {
	Ref      string
	Failure  string // empty: it went well
	Duration time.Duration
}

// maxRows bounds the table of a summary, which a browser shows.
const maxRows = 200

// Markdown returns a summary of a build for people, to be attached to its run.
// Whatever it is given appears as text only.
func Markdown(s Summary) string {
	var out strings.Builder
	title := "Image build"
	if len(s.Names) > 0 {
		title = code(s.Names[0])
	}
	fmt.Fprintf(&out, "### %s\n\n", title)
	row := func(name string, values ...string) {
		if values = slices.DeleteFunc(values, func(v string) bool { return v == "" }); len(values) > 0 {
			fmt.Fprintf(&out, "- %s: %s\n", name, strings.Join(values, ", "))
		}
	}
	row("tags", codes(s.Names)...)
	row("digest", code(s.Digest))
	row("platforms", codes(s.Platforms)...)
	row("nodes", codes(s.Nodes)...)
	cached := fmt.Sprintf("%d of %d steps cached", s.Cached, s.Steps)
	if s.Saved > 0 {
		cached += ", which saved " + seconds(s.Saved)
	}
	row("took", seconds(s.Duration)+", "+cached)
	for _, e := range s.Exports {
		if e.Failure != "" {
			row("cache", code(e.Ref)+" was not exported: "+code(e.Failure))
		} else {
			row("cache", code(e.Ref)+" exported in "+seconds(e.Duration))
		}
	}
	if len(s.Reasons) == 0 {
		return out.String()
	}
	out.WriteString("\n| step | line | why it ran |\n|---|---|---|\n")
	for i, r := range s.Reasons {
		if i == maxRows {
			fmt.Fprintf(&out, "| and %d more | | |\n", len(s.Reasons)-i)
			break
		}
		line := ""
		if r.Line > 0 {
			line = fmt.Sprint(r.Line)
		}
		fmt.Fprintf(&out, "| %s | %s | %s |\n", code(r.Step), line, code(r.Text))
	}
	return out.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// code makes a text a span of code that nothing in it can leave, also in a
// table: backticks become another quote, and pipes a look-alike.
func code(s string) string {
	s = strings.NewReplacer("`", "'", "|", "¦").Replace(cleanTo(s, 600))
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func codes(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = code(s)
	}
	return out
}
