package pipeline

import (
	"fmt"
	"strings"
)

// strategy says how many instances a job has. The zero value is one.
type strategy struct {
	legs        []leg    // in the order of the file
	matrix      deferred // $[ ] that gives the legs
	parallel    deferred
	maxParallel deferred
}

// leg is one instance of a matrix: its name and variables.
type leg struct {
	name      string
	variables map[string]string
}

func (d *decoder) strategy(n *node) strategy {
	var s strategy
	o := d.object(n)
	if o == nil {
		return s
	}
	matrix, parallel := o.take("matrix"), o.take("parallel")
	s.maxParallel = d.lateInt(o.take("maxParallel"))
	o.refuse("runOnce", "rolling", "canary")
	o.finish()
	if matrix != nil && parallel != nil {
		d.add(o.key("parallel"), "'parallel' cannot be combined with 'matrix'")
	}
	s.parallel = d.lateInt(parallel)
	switch {
	case matrix.isEmpty():
	case matrix.kind == scalarNode:
		d.checkRuntime(matrix)
		if !strings.HasPrefix(strings.TrimSpace(matrix.text), "$[") {
			d.add(matrix, "Expected a mapping")
		}
		s.matrix = deferred{matrix}
	case matrix.kind == mappingNode:
		for _, p := range matrix.pairs {
			s.legs = append(s.legs, leg{p.key.text, d.textMap(p.value)})
		}
		nameLegs(s.legs)
	default:
		d.add(matrix, "Expected a mapping")
	}
	return s
}

// maxLegName is how long the name of a leg may be.
const maxLegName = 100

// nameLegs replaces names that no job may have by Job1, Job2, … after their position.
func nameLegs(legs []leg) {
	for i := range legs {
		name := legs[i].name
		if !isName(name) || strings.HasPrefix(name, "_") || len(name) > maxLegName {
			legs[i].name = fmt.Sprintf("Job%d", i+1)
		}
	}
}
