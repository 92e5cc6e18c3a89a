package buildkitconf

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
)

// tier is one rule of a policy, and where it stands.
type tier struct {
	line                       int
	all                        bool
	filters                    []string
	age                        time.Duration
	reserved, maxUsed, minFree space
}

// everything reports whether the tier holds for records of any kind and age.
func (t tier) everything() bool { return t.age == 0 && len(t.filters) == 0 }

// ceiling returns what the cache is brought down to, as far as it is an amount.
// A reserved space above the maximum takes its place; without a maximum and a
// free space to reach, it is the maximum.
func (t tier) ceiling(size int64) space {
	if t.reserved.over(t.maxUsed, size) && (!t.maxUsed.zero() || t.minFree.zero()) {
		return t.reserved
	}
	return t.maxUsed
}

func (t tier) limited() bool { return !t.reserved.zero() || !t.maxUsed.zero() || !t.minFree.zero() }

// readTiers returns the policy of a worker's table: its own, or the one that
// BuildKit makes of the limits in it. None of both is BuildKit's default, which
// has a ceiling.
func readTiers(worker *node) []tier {
	limits := func(n *node, old string) tier {
		t := tier{line: n.line, reserved: n.get("reservedSpace").space(), maxUsed: n.get("maxUsedSpace").space(), minFree: n.get("minFreeSpace").space()}
		return t.orOld(n.get(old).space())
	}
	if own := worker.get("gcpolicy"); own != nil && len(own.items) > 0 {
		var out []tier
		for _, item := range own.items {
			t := limits(item, "keepBytes")
			t.all, t.filters = item.get("all").isTrue(), item.get("filters").strings()
			t.age, _ = item.get("keepDuration").duration()
			out = append(out, t)
		}
		return out
	}
	t := limits(worker, "gckeepstorage")
	if !t.limited() {
		t.reserved, t.maxUsed, t.minFree = space{percent: 10}, space{percent: 80}, space{percent: 20}
	}
	t.all = true
	return []tier{t}
}

// orOld takes the deprecated limit when there is no reserved space.
func (t tier) orOld(old space) tier {
	if t.reserved.zero() {
		t.reserved = old
	}
	return t
}

// judge finds what is wrong with a policy.
func judge(tiers []tier, v Volume) []Finding {
	var out []Finding
	add := func(line int, level Level, rule, hint, format string, args ...any) {
		out = append(out, Finding{Line: line, Level: level, Rule: rule, Text: fmt.Sprintf(format, args...), Hint: hint})
	}
	var ceiling *tier
	for i := range tiers {
		t := &tiers[i]
		if t.everything() && !t.limited() {
			add(t.line, Fault, "keeps-nothing", "set maxUsedSpace in it", "tier %d has neither an age nor a limit: it removes all cache that is not in use, after each build", i+1)
			return out
		}
		if t.everything() {
			ceiling = t
		}
		if !t.maxUsed.zero() && t.reserved.over(t.maxUsed, v.Size) {
			add(t.line, Fault, "reserved-above-max", "set reservedSpace below maxUsedSpace",
				"tier %d keeps %s (reservedSpace) and so never gets down to %s (maxUsedSpace)", i+1, t.reserved, t.maxUsed)
		}
		if free, ok := t.minFree.of(v.Size); ok && v.Size > 0 && free >= v.Size {
			add(t.line, Fault, "free-above-volume", "set minFreeSpace to about 15% of the volume",
				"tier %d wants %s free on a volume of %s: it never keeps more than its reservedSpace", i+1, t.minFree, Human(v.Size))
		}
	}
	if ceiling == nil {
		line := 0
		if len(tiers) > 0 {
			line = tiers[len(tiers)-1].line
		}
		add(line, Fault, "no-ceiling", "add a last tier with maxUsedSpace and without keepDuration and filters; dockless builder config writes one",
			"no tier limits the whole cache: each has an age or a filter, so builds in quick succession fill the volume")
		return out
	}
	if last := tiers[len(tiers)-1]; last.age > 0 {
		add(last.line, Warning, "last-tier-age", "put the tier without keepDuration last", "the last tier spares what was used within %s", Age(last.age))
	}
	if !ceiling.all {
		add(ceiling.line, Warning, "spares-internal", "set all to true in a last tier of the same limits", "the ceiling spares frontends and other records of BuildKit's own, which can exceed it")
	}
	return append(out, judgeCeiling(*ceiling, v)...)
}

// judgeCeiling compares the ceiling with the volume.
func judgeCeiling(t tier, v Volume) []Finding {
	if v.Size <= 0 {
		return nil
	}
	most, ok := t.ceiling(v.Size).of(v.Size)
	free, _ := t.minFree.of(v.Size)
	f := Finding{Line: t.line, Hint: "set maxUsedSpace to about 75% of the volume; dockless builder config computes it"}
	switch {
	case !ok || most == 0:
		return nil
	case most > v.Size:
		f.Level, f.Rule = Fault, "ceiling-above-volume"
		if free > 0 {
			f.Level = Warning
		}
		f.Text = fmt.Sprintf("the ceiling of %s is above the size of the volume, %s", Human(most), Human(v.Size))
	case most > v.Size/10*9 && free == 0:
		f.Level, f.Rule = Warning, "ceiling-near-volume"
		f.Text = fmt.Sprintf("the ceiling of %s leaves less than a tenth of %s for what BuildKit does not count and for builds that run", Human(most), Human(v.Size))
	default:
		return nil
	}
	return []Finding{f}
}

// Labels of a worker that rules look at, as util/worker/label of BuildKit has them.
const (
	labelSnapshotter = "org.mobyproject.buildkit.worker.snapshotter"
	labelProcessMode = "org.mobyproject.buildkit.worker.oci.process-mode"
)

// LintRunning applies the rules to what a worker of a running buildkitd says of
// itself: its policy and its labels. The zero Volume is one that is not known.
func LintRunning(policy []client.PruneInfo, labels map[string]string, v Volume) []Finding {
	var out []Finding
	if labels[labelSnapshotter] == "native" {
		out = append(out, Finding{
			Level: Warning, Rule: "native-snapshotter", Text: "the native snapshotter copies the whole file system for each step",
			Hint: "give buildkitd a root on ext4 or xfs, or install fuse-overlayfs beside it",
		})
	}
	if labels[labelProcessMode] == "no-sandbox" {
		out = append(out, Finding{
			Level: Remark, Rule: "no-process-sandbox", Text: "steps see the processes of other builds and of buildkitd, and can end them",
			Hint: "start buildkitd without --oci-worker-no-process-sandbox where steps may mount /proc",
		})
	}
	if len(policy) == 0 {
		return append(out, Finding{
			Level: Fault, Rule: "no-gc", Text: "garbage collection is off: the cache grows until the volume is full",
			Hint: "start buildkitd with gc = true and the limits that dockless builder config writes",
		})
	}
	return append(out, judge(tiersOf(policy), v)...)
}

func tiersOf(policy []client.PruneInfo) []tier {
	out := make([]tier, len(policy))
	for i, p := range policy {
		out[i] = tier{
			all: p.All, filters: p.Filter, age: p.KeepDuration,
			reserved: space{bytes: p.ReservedSpace}, maxUsed: space{bytes: p.MaxUsedSpace}, minFree: space{bytes: p.MinFreeSpace},
		}
	}
	return out
}

// Ceiling returns what a policy brings the whole cache down to, in bytes, and the
// free space that it leaves; zero means that it has no such limit.
func Ceiling(policy []client.PruneInfo) (maxUsed, minFree int64) {
	for _, t := range tiersOf(policy) {
		if t.everything() {
			maxUsed, minFree = t.ceiling(0).bytes, t.minFree.bytes
		}
	}
	return maxUsed, minFree
}

// Words describes a tier of a policy in a few words.
func Words(p client.PruneInfo) string {
	what := "everything"
	switch {
	case len(p.Filter) > 0:
		each := make([]string, len(p.Filter))
		for i, f := range p.Filter {
			each[i] = strings.NewReplacer("type==", "", ",", " and ").Replace(f)
		}
		what = strings.Join(each, ", ")
	case !p.All:
		what = "everything but internal records"
	}
	if p.KeepDuration > 0 {
		what += " unused for " + Age(p.KeepDuration)
	}
	t := tiersOf([]client.PruneInfo{p})[0]
	var limits []string
	if most := t.ceiling(0).bytes; most > 0 {
		limits = append(limits, "above "+Human(most)+" of cache")
	}
	if p.MinFreeSpace > 0 {
		limits = append(limits, "below "+Human(p.MinFreeSpace)+" of free disk")
	}
	if len(limits) == 0 {
		return what + ", at once"
	}
	what += ", " + strings.Join(limits, " or ")
	if p.ReservedSpace > 0 && p.MinFreeSpace > 0 {
		what += "; keeps " + Human(p.ReservedSpace)
	}
	return what
}

// Age writes whole days as days.
func Age(d time.Duration) string {
	if day := 24 * time.Hour; d >= 2*day && d%day == 0 {
		return strconv.Itoa(int(d/day)) + " days"
	}
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if rest, ok := strings.CutSuffix(s, zero); ok {
			s = rest + zero[:1]
		}
	}
	return s
}
