package explain

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Solved is a step as BuildKit told of it.
type Solved struct {
	Name     string // "[linux/arm64 build 2/5] RUN go build"
	Base     bool   // a FROM, which has no reason
	Ran      bool   // to its end or not
	Cached   bool
	Duration time.Duration
	Inputs   []int // indexes of the steps it builds on, as far as they were told of
}

// label is a step's name taken apart.
type label struct {
	platform string // empty when BuildKit was asked for one only
	stage    string // its name, stage-N, or empty when it is the only one
	number   int
	total    int
	onBuild  bool
	text     string // the instruction
}

var labelForm = regexp.MustCompile(`^\[(?:(\S*/\S*) )?(?:(\S+) )? *(\d+)/(\d+)\] (.*)$`)

func parseLabel(name string) (label, bool) {
	m := labelForm.FindStringSubmatch(strings.ReplaceAll(name, "\n", " "))
	if m == nil {
		return label{}, false
	}
	l := label{platform: m[1], stage: m[2], text: m[5]}
	l.number, _ = strconv.Atoi(m[3]) // digits; too many are no number of ours
	l.total, _ = strconv.Atoi(m[4])  // as above
	l.text, l.onBuild = strings.CutPrefix(l.text, "ONBUILD ")
	l.text = strings.TrimPrefix(l.text, "LINK ")
	return l, true
}

// word is the instruction's first word.
func (l label) word() string {
	word, _, _ := strings.Cut(l.text, " ")
	return strings.ToUpper(word)
}

// of reports whether the label's platform is that of a stage for a target: it
// is the stage's own, with the target's behind an arrow when the stage knows it.
func (l label) of(stage, target string) bool {
	if l.platform == "" {
		return true
	}
	own, to, crossing := strings.Cut(l.platform, "->")
	if own != stage {
		return false
	}
	return !crossing || strings.HasSuffix(target, to)
}

// short is a step's name without its instruction: "[build 2/5]".
func short(name string) string {
	if at := strings.Index(name, "] "); at > 0 {
		return clean(name[:at+1])
	}
	return clean(name)
}

// place is where a step is in a record.
type place struct{ platform, stage, step int }

// placed finds the steps of a record among those that were solved. One step may
// be several vertices, as ADD of a URL is, and one vertex the step of several
// platforms.
func placed(r *Record, solved []Solved) (at map[int]place, of map[place][]int) {
	at, of = make(map[int]place), make(map[place][]int)
	labels := make([]label, len(solved))
	begins := make(map[string]bool) // stages whose first step is no FROM
	for i, s := range solved {
		labels[i], _ = parseLabel(s.Name)
		if labels[i].number == 1 && labels[i].word() != "FROM" {
			begins[labels[i].platform+" "+labels[i].stage] = true
		}
	}
	for pi := range r.Platforms {
		p := &r.Platforms[pi]
		for si := range p.Stages {
			st := &p.Stages[si]
			for i := range solved {
				l := &labels[i]
				if solved[i].Base || l.number == 0 || !st.Needed || !l.of(st.Platform, p.Name) || !st.called(l.stage, si) {
					continue
				}
				first := 1
				if st.Image != "" && !begins[l.platform+" "+l.stage] {
					first = 2
				}
				k, ok := st.numbered(l.number-first, max(0, l.total-st.Total))
				if !ok || st.Steps[k].Word != l.word() {
					continue
				}
				where := place{pi, si, k}
				if _, ok := at[i]; !ok {
					at[i] = where
				}
				of[where] = append(of[where], i)
			}
		}
	}
	return at, of
}

// called reports whether BuildKit shows the stage, the i-th, under a name.
func (st *Stage) called(name string, i int) bool {
	if st.Name != "" {
		return name == st.Name || name == "" && i == 0
	}
	return name == "stage-"+strconv.Itoa(i) || name == "" && i == 0
}

// numbered returns the n-th step that BuildKit numbers, after those that the base
// image left for this build and that no record has.
func (st *Stage) numbered(n, foreign int) (int, bool) {
	n -= foreign
	for k := range st.Steps {
		if st.Steps[k].Silent {
			continue
		}
		if n == 0 {
			return k, true
		}
		n--
	}
	return 0, false
}
