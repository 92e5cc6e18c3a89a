package imagebuild

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/sharedstate"
)

const (
	// worthKeeping is what a step must take to be remembered: shorter ones spare
	// nobody anything, and are most.
	worthKeeping = 100 * time.Millisecond
	// maxSteps of one scope are remembered, the longest ones.
	maxSteps = 100
	// maxScopes are remembered, the last used ones. With the bounds above, the
	// file of a machine that builds a lot has some hundred kilobytes.
	maxScopes = 200
)

// scopeAccount is what is known of one cache reference.
type scopeAccount struct {
	buildcache.History
	// Steps are what steps took when they ran last, by [stepKey].
	Steps map[string]time.Duration
	Used  time.Time
}

// ledger weighs what exports cost against what imports spare, by cache reference.
type ledger struct {
	sharedstate.Value[map[string]*scopeAccount]
}

// enter books a build: the steps it ran or found in caches, what looking for the
// caches took, and which of them were there. It returns why the export to ref is
// not worth it, or "".
//
// A step found in a cache has been spared as long as it took when it ran last. A
// hit in the node's own cache looks the same to us, so what imports spare is
// rather too much than too little, and an export is rather made than skipped.
func (l *ledger) enter(ctx context.Context, ref string, imports []string, steps []Step, importing time.Duration) (skip string, err error) {
	longest := longestRun(steps)
	err = l.Change(ctx, func(all *map[string]*scopeAccount) {
		if *all == nil {
			*all = make(map[string]*scopeAccount)
		}
		for ref, account := range *all {
			if account == nil {
				delete(*all, ref) // not written by us
			}
		}
		if (*all)[ref] == nil {
			(*all)[ref] = &scopeAccount{}
		}
		own := (*all)[ref]
		own.Used = time.Now()
		known := []*scopeAccount{own}
		for _, i := range imports {
			if account := (*all)[i]; account != nil && account != own {
				known = append(known, account)
			}
		}
		spared, ran := remember(steps, known)
		if len(imports) > 0 {
			if account := (*all)[imports[0]]; account != nil {
				account.Credit(spared - importing)
			}
		}
		own.Steps = ran
		if skip = own.Skip(longest); skip != "" {
			own.Skipped++
		}
		for len(*all) > maxScopes {
			delete(*all, slices.MinFunc(slices.Collect(maps.Keys(*all)), func(a, b string) int { return (*all)[a].Used.Compare((*all)[b].Used) }))
		}
	})
	return skip, err
}

// exported books an export to ref that succeeded. One that failed says nothing of
// what the next will cost or spare.
func (l *ledger) exported(ctx context.Context, ref string, took time.Duration, steps []Step) error {
	longest := longestRun(steps)
	return l.Change(ctx, func(all *map[string]*scopeAccount) {
		if account := (*all)[ref]; account != nil {
			account.Exported(took, longest)
		}
	})
}

// remember returns what steps from a cache would have taken, and the table of
// steps for the next build.
func remember(steps []Step, known []*scopeAccount) (spared time.Duration, table map[string]time.Duration) {
	table = make(map[string]time.Duration)
	for _, s := range steps {
		took := s.Duration
		switch {
		case s.Base || !s.Cached && !s.Ran:
			continue
		case s.Cached:
			for _, account := range known {
				if took = account.Steps[stepKey(s.Name)]; took > 0 {
					break
				}
			}
			spared += max(0, took)
		}
		if took >= worthKeeping {
			table[stepKey(s.Name)] = took
		}
	}
	if len(table) > maxSteps {
		names := slices.SortedFunc(maps.Keys(table), func(a, b string) int { return cmp.Compare(table[b], table[a]) })
		for _, name := range names[maxSteps:] {
			delete(table, name)
		}
	}
	return spared, table
}

func longestRun(steps []Step) (longest time.Duration) {
	for _, s := range steps {
		if s.Ran && !s.Base {
			longest = max(longest, s.Duration)
		}
	}
	return longest
}

// stepKey stands for the name of a step, which is what its author wrote and has
// no place on disk.
func stepKey(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:8])
}
