package pipeline

import (
	"cmp"
	"path"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/expr"
)

// Load reads, expands and checks a pipeline. The error joins an *[Error] for every
// mistake found.
func Load(source Source, options Options) (*Pipeline, error) {
	if options.Now.IsZero() {
		options.Now = time.Now()
	}
	if options.Counters == nil {
		options.Counters = expr.NewCounters(nil)
	}
	if options.Definition == "" {
		options.Definition = cmp.Or(options.Repository.Name, strings.TrimSuffix(path.Base(source.File), path.Ext(source.File)))
	}
	p := newProblems(source.File)
	root := read(p, "", source.Content)
	if root == nil {
		return nil, p.err()
	}
	d := &decoder{problems: p, given: options, containers: make(map[string]*container), repos: make(map[string]*repository)}
	if root.kind != mappingNode && len(p.found) == 0 {
		p.add(root, "Expected a mapping")
	}
	if err := p.err(); err != nil && root.kind != mappingNode {
		return nil, err
	}
	var values []given
	for name, text := range options.Parameters {
		values = append(values, given{name: name, text: text})
	}
	parameters, value := d.parameters(root.get("parameters"), nil, values)
	if err := p.err(); err != nil {
		return nil, err
	}
	e := &expander{problems: p, open: source.Open, files: make(map[templateFile]*node)}
	around := names{
		values:    map[string]expr.Value{"parameters": value},
		variables: templateVariables(options),
		file:      templateFile{"self", strings.TrimPrefix(p.file, "/")},
	}
	expanded := e.extend(e.node(root, around, roleRoot), around)
	if err := p.err(); err != nil {
		return nil, err
	}
	pipeline := d.root(expanded)
	if pipeline != nil {
		pipeline.Parameters = parameters
		pipeline.expanded = expanded
		pipeline.options = options
		d.graph(pipeline)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	pipeline.Name = cmp.Or(options.BuildNumber, pipeline.runName())
	pipeline.options.BuildNumber = pipeline.Name
	pipeline.Warnings = p.warningTexts()
	return pipeline, nil
}
