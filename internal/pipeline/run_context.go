package pipeline

import (
	"fmt"
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
)

// aroundStage returns what the condition of a stage sees.
func (r *Run) aroundStage(s *stageState) (*surroundings, error) {
	around := &surroundings{values: r.commonValues(), table: new(table), counters: r.pipeline.options.Counters}
	around.table.merge(r.queued())
	system := r.system()
	around.table.merge(system)
	for _, block := range [][]variable{r.pipeline.variables, s.stage.variables} {
		if err := r.declare(around, block); err != nil {
			return nil, err
		}
	}
	around.table.merge(system)
	direct, indirect := r.stageAncestors(s)
	around.graph = expr.Graph{Canceled: r.canceled, Dependencies: make(map[string]expr.Status), Ancestors: make(map[string]expr.Status)}
	dependencies := new(expr.Map)
	for _, other := range direct {
		around.graph.Dependencies[other.stage.Name] = status(other.result)
		dependencies.Set(other.stage.Name, other.asDependency())
	}
	for _, other := range indirect {
		around.graph.Ancestors[other.stage.Name] = status(other.result)
	}
	around.values["dependencies"] = expr.MappingOf(dependencies)
	return around, nil
}

// aroundJob returns what the condition and the runtime expressions of a job see.
func (r *Run) aroundJob(s *stageState, js *jobState) (*surroundings, error) {
	around := &surroundings{values: r.commonValues(), table: new(table), counters: r.pipeline.options.Counters}
	direct, indirect := s.jobAncestors(js)
	around.graph = expr.Graph{Canceled: r.canceled, Dependencies: make(map[string]expr.Status), Ancestors: make(map[string]expr.Status)}
	dependencies := new(expr.Map)
	for _, other := range direct {
		around.graph.Dependencies[other.def.Name] = status(other.result)
		dependencies.Set(other.def.Name, other.asDependency())
	}
	for _, other := range indirect {
		around.graph.Ancestors[other.def.Name] = status(other.result)
	}
	around.values["dependencies"] = expr.MappingOf(dependencies)
	around.values["stageDependencies"] = r.stageDependencies(s)
	around.table.merge(r.queued())
	system := r.system()
	around.table.merge(system)
	for _, block := range [][]variable{r.pipeline.variables, s.stage.variables, js.def.variables} {
		if err := r.declare(around, block); err != nil {
			return nil, err
		}
	}
	around.table.merge(system) // stronger than the file
	return around, nil
}

// declare evaluates a block of variables into the table, in order.
func (r *Run) declare(around *surroundings, block []variable) error {
	for _, v := range block {
		value := v.value
		if v.locked {
			var err error
			if value, err = around.eval(v.value); err != nil {
				return fmt.Errorf("the variable %s: %w", v.name, err)
			}
		}
		v.flags.Value = value
		around.table.set(v.name, v.flags)
	}
	return nil
}

// queued returns the variables given when the run was started.
func (r *Run) queued() *table {
	t := new(table)
	for name, v := range r.pipeline.options.Variables {
		t.set(name, v)
	}
	return t
}

// commonValues are the named values that do not depend on the job.
func (r *Run) commonValues() map[string]expr.Value {
	pipeline := new(expr.Map)
	pipeline.Set("startTime", expr.Time(r.pipeline.options.Now))
	repositories := new(expr.Map)
	repositories.Set("self", r.pipeline.options.Repository.value())
	for _, other := range r.pipeline.repos {
		repositories.Set(other.alias, other.value())
	}
	resources := new(expr.Map)
	resources.Set("repositories", expr.MappingOf(repositories))
	return map[string]expr.Value{"pipeline": expr.MappingOf(pipeline), "resources": expr.MappingOf(resources)}
}

func (r Repository) value() expr.Value {
	m := new(expr.Map)
	m.Set("name", expr.Text(r.Name))
	m.Set("ref", expr.Text(r.Ref))
	m.Set("type", expr.Text(r.Type))
	m.Set("id", expr.Text(r.ID))
	m.Set("url", expr.Text(r.URL))
	m.Set("version", expr.Text(r.Commit))
	return expr.MappingOf(m)
}

// asDependency is dependencies.<job>: the result and the outputs of all instances.
func (js *jobState) asDependency() expr.Value {
	outputs := new(expr.Map)
	for _, j := range js.finished {
		for name, value := range j.outputs {
			if j.Instance != DefaultName {
				name = j.Instance + "." + name
			}
			outputs.Set(name, expr.Text(value))
		}
	}
	return dependency(status(js.result), outputs)
}

// asDependency is dependencies.<stage> of a stage's condition: outputs carry the job.
func (s *stageState) asDependency() expr.Value {
	outputs := new(expr.Map)
	for _, js := range s.jobs {
		of, _ := js.asDependency().Mapping().Get("outputs")
		for name, value := range of.Mapping().All() {
			outputs.Set(js.def.Name+"."+name, value)
		}
	}
	return dependency(status(s.result), outputs)
}

func dependency(result expr.Status, outputs *expr.Map) expr.Value {
	m := new(expr.Map)
	m.Set("result", expr.Text(string(result)))
	m.Set("outputs", expr.MappingOf(outputs))
	return expr.MappingOf(m)
}

// stageDependencies holds the jobs of all stages that s depends on, directly or not.
func (r *Run) stageDependencies(s *stageState) expr.Value {
	direct, indirect := r.stageAncestors(s)
	stages := new(expr.Map)
	for _, other := range append(direct, indirect...) {
		jobs := new(expr.Map)
		for _, js := range other.jobs {
			jobs.Set(js.def.Name, js.asDependency())
		}
		stages.Set(other.stage.Name, expr.MappingOf(jobs))
	}
	return expr.MappingOf(stages)
}

func (r *Run) stageAncestors(s *stageState) (direct, indirect []*stageState) {
	return ancestors(s, func(s *stageState) (all []*stageState) {
		for _, name := range s.stage.DependsOn {
			all = append(all, r.stage(name))
		}
		return all
	})
}

func (s *stageState) jobAncestors(js *jobState) (direct, indirect []*jobState) {
	return ancestors(js, func(js *jobState) (all []*jobState) {
		for _, name := range js.def.DependsOn {
			all = append(all, s.job(name))
		}
		return all
	})
}

// ancestors walks an acyclic graph upwards.
func ancestors[T comparable](of T, parents func(T) []T) (direct, indirect []T) {
	seen := map[T]bool{of: true}
	for _, parent := range parents(of) {
		if !seen[parent] {
			seen[parent] = true
			direct = append(direct, parent)
		}
	}
	queue := direct
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		for _, parent := range parents(next) {
			if !seen[parent] {
				seen[parent] = true
				indirect = append(indirect, parent)
				queue = append(queue, parent)
			}
		}
	}
	return direct, indirect
}

// expand returns the instances of a job and System.ParallelExecutionType.
func (s strategy) expand(around *surroundings) (legs []leg, kind string, err error) {
	legs = s.legs
	if s.matrix.n != nil {
		text, err := around.eval(s.matrix.text())
		if err != nil {
			return nil, "", err
		}
		if legs, err = parseMatrix(text); err != nil {
			return nil, "", err
		}
	}
	if len(legs) > 0 {
		return legs, "MultiConfiguration", nil
	}
	n, err := around.lateInt(s.parallel, 0)
	if err != nil {
		return nil, "", err
	}
	for i := range min(n, maxParallelJobs) {
		legs = append(legs, leg{name: fmt.Sprintf("Job%d", i+1)})
	}
	if len(legs) > 0 {
		return legs, "MultiMachine", nil
	}
	return []leg{{name: DefaultName}}, "", nil
}

// maxParallelJobs is how many slices the service makes of one job at most.
const maxParallelJobs = 99

// parseMatrix reads the JSON text that a runtime expression gave; YAML is its lenient
// reader.
func parseMatrix(text string) ([]leg, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	d := &decoder{problems: newProblems("matrix")}
	root := read(d.problems, "", []byte(text))
	var legs []leg
	if root != nil && root.kind == mappingNode {
		for _, p := range root.pairs {
			legs = append(legs, leg{p.key.text, d.textMap(p.value)})
		}
	} else if root != nil {
		d.add(root, "Expected a mapping")
	}
	nameLegs(legs)
	if err := d.err(); err != nil {
		return nil, fmt.Errorf("reading the matrix: %w", err)
	}
	return legs, nil
}
