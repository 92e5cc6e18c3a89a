package buildxsetup_test

import (
	"testing"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/dockless-ci/dockless/buildxsetup"
)

func TestTheCeilingOfANodeIsThatOfThePoliciesOfItsWorkers(t *testing.T) {
	type rules = []client.PruneInfo
	for name, test := range map[string]struct {
		workers    []rules
		most, free int64
	}{
		"no worker":                       {nil, 0, 0},
		"no rule":                         {[]rules{nil}, 0, 0},
		"several rules":                   {[]rules{{{MaxUsedSpace: 5}, {}, {MaxUsedSpace: 9, MinFreeSpace: 2}}}, 9, 2},
		"the last has no bound":           {[]rules{{{MaxUsedSpace: 5}, {}}}, 0, 0},
		"the last is of an age":           {[]rules{{{MaxUsedSpace: 9}, {MaxUsedSpace: 5, KeepDuration: time.Hour}}}, 9, 0},
		"the last is of a kind":           {[]rules{{{MaxUsedSpace: 9}, {MaxUsedSpace: 5, Filter: []string{"type==source.local"}}}}, 9, 0},
		"each is of an age":               {[]rules{{{MaxUsedSpace: 5, KeepDuration: time.Hour}}}, 0, 0},
		"more is reserved than it may be": {[]rules{{{MaxUsedSpace: 5, ReservedSpace: 7}}}, 7, 0},
		"two workers":                     {[]rules{{{MaxUsedSpace: 5, MinFreeSpace: 3}}, {{MaxUsedSpace: 7, MinFreeSpace: 2}}}, 12, 3},
		"one without a bound":             {[]rules{{{MaxUsedSpace: 5}}, nil}, 0, 0},
	} {
		var n buildxsetup.Node
		for _, r := range test.workers {
			n.Workers = append(n.Workers, buildxsetup.Worker{GC: r})
		}
		if most, free := n.Ceiling(); most != test.most || free != test.free {
			t.Errorf("%s: Ceiling() = %d, %d; want %d, %d", name, most, free, test.most, test.free)
		}
	}
}
