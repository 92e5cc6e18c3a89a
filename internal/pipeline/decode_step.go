package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
	"github.com/dockless-ci/dockless/internal/job"
)

// stepKinds are the keys that begin a step.
var stepKinds = []string{
	"script", "bash", "pwsh", "powershell", "checkout", "download", "downloadBuild", "getPackage",
	"publish", "upload", "task", "template", "reviewApp",
}

// preferences are the keys of PowerShell steps that are inputs of the same name.
var preferences = []string{
	"errorActionPreference", "ignoreLASTEXITCODE", "warningPreference", "informationPreference",
	"verbosePreference", "debugPreference", "progressPreference",
}

var checkoutKeys = []string{
	"clean", "fetchDepth", "fetchFilter", "fetchTags", "lfs", "persistCredentials", "submodules", "path",
	"sparseCheckoutDirectories", "sparseCheckoutPatterns", "workspaceRepo",
}

// steps reads the steps of the job at owner, puts the implicit checkout first and gives
// every step its name.
func (d *decoder) steps(n *node, owner *node) []Step {
	var steps []Step
	fetches := false
	for _, item := range d.sequence(n) {
		fetches = fetches || item.get("checkout") != nil
		if step, ok := d.step(item); ok {
			steps = append(steps, step)
		}
	}
	if !fetches {
		implicit := Step{Task: "Checkout@1", reference: checkout.reference(), Inputs: map[string]string{"repository": "self"}, at: owner}
		steps = slices.Insert(steps, 0, implicit)
	}
	d.nameSteps(steps)
	d.titleCheckouts(steps)
	return steps
}

func (t task) reference() job.TaskReference {
	return job.TaskReference{ID: t.id, Name: t.name, Version: t.version}
}

// step reads one step; ok is false for one that does not run or cannot be read.
func (d *decoder) step(n *node) (s Step, ok bool) {
	kind, ok := d.stepKind(n)
	if !ok {
		return s, false
	}
	o := d.object(n)
	s.at = n
	main := o.take(kind)
	if kind != "template" {
		d.stepCommon(&s, o)
	}
	run := true
	switch kind {
	case "script", "bash", "powershell", "pwsh", "publish":
		d.shorthand(&s, o, main, shorthands[kind])
	case "upload":
		d.shorthand(&s, o, main, shorthands["publish"])
	case "checkout":
		run = d.checkout(&s, o, main)
	case "download":
		run = d.download(&s, o, main)
	case "task":
		d.task(&s, o, main)
	default:
		o.refuse(kind)
		return s, false
	}
	o.finish()
	return s, run && d.boolean(n.get("enabled"), true)
}

// stepKind returns the key that begins a step and so decides what it is.
func (d *decoder) stepKind(n *node) (kind string, ok bool) {
	switch {
	case n.kind == scalarNode:
		d.add(n, "Unexpected value '%s'", n.text)
		return "", false
	case n.kind == sequenceNode:
		d.add(n, "Expected a mapping")
		return "", false
	case len(n.pairs) == 0:
		d.add(n, "There's not enough info to determine what you meant. Add one of these properties: %s", strings.Join(stepKinds, ", "))
		return "", false
	}
	first := n.pairs[0].key
	if slices.Contains(stepKinds, first.text) {
		return first.text, true
	}
	for _, candidate := range stepKinds {
		if n.get(candidate) != nil {
			d.add(first, "Unexpected value '%s': a step begins with '%s'", first.text, candidate)
			return "", false
		}
	}
	d.advise(first, didYouMean(near(first.text, slices.Clone(stepKinds))), "Unexpected value '%s'", first.text)
	return "", false
}

// stepCommon reads the keys that every step may have.
func (d *decoder) stepCommon(s *Step, o *object) {
	s.Name = o.text("name")
	s.named = s.Name != ""
	if s.named && !isName(s.Name) {
		d.add(o.n.get("name"), "Step %s has an invalid name. Valid names may only contain alphanumeric characters and '_' and may not start with a number.", s.Name)
	}
	s.DisplayName = o.text("displayName")
	condition := o.take("condition")
	s.Condition = strings.TrimSpace(d.scalar(condition))
	if _, err := expr.ParseStepCondition(s.Condition); err != nil {
		d.add(condition, "%s", err)
	}
	s.continueOnError = d.lateBool(o.take("continueOnError"))
	for _, key := range []string{"continueOnError", "timeoutInMinutes", "retryCountOnTaskFailure"} {
		if n := o.n.get(key); n != nil && strings.HasPrefix(strings.TrimSpace(n.text), "$[") {
			d.add(n, "Unexpected value '%s': a step does not evaluate $[ ]", n.text)
		}
	}
	d.boolean(o.take("enabled"), true)
	s.Environment = d.textMap(o.take("env"))
	s.timeout = d.lateInt(o.take("timeoutInMinutes"))
	s.retries = d.lateInt(o.take("retryCountOnTaskFailure"))
	s.target = d.target(o.take("target"))
}

// shorthand makes s the task that a shorthand stands for.
func (d *decoder) shorthand(s *Step, o *object, main *node, short shorthand) {
	t, _, _ := d.findTask(short.task)
	s.Task, s.reference = short.task, t.reference()
	s.Inputs = map[string]string{short.input: d.scalar(main)}
	for _, input := range short.fixed {
		s.Inputs[input[0]] = input[1]
	}
	for _, key := range short.keys {
		if value := o.take(key); value != nil {
			s.Inputs[t.canonical(key)] = d.scalar(value)
		}
	}
	if short.input == "script" {
		t.title = "" // a script is titled after its task, which the task itself is not
	}
	s.DisplayName = cmp.Or(s.DisplayName, t.displayName(s.Inputs))
}

func (d *decoder) task(s *Step, o *object, main *node) {
	inputs := o.take("inputs")
	t, problem, advice := d.findTask(strings.TrimSpace(d.scalar(main)))
	if problem != "" {
		d.advise(main, advice, "%s", problem)
		return
	}
	s.Task, s.reference = t.written(), t.reference()
	s.Inputs = make(map[string]string)
	if inputs.isEmpty() {
		inputs = &node{kind: mappingNode, pos: main.pos}
	}
	for name, value := range d.textMap(inputs) {
		canonical := t.canonical(name)
		if _, again := job.Lookup(s.Inputs, canonical); again {
			d.add(inputs, "'%s' is already defined", canonical)
		}
		s.Inputs[canonical] = value
	}
	s.DisplayName = cmp.Or(s.DisplayName, t.displayName(s.Inputs))
}

// checkout reads a checkout step; it reports false for checkout: none.
func (d *decoder) checkout(s *Step, o *object, main *node) bool {
	alias := strings.TrimSpace(d.scalar(main))
	s.Task, s.reference = "Checkout@1", checkout.reference()
	s.Inputs = map[string]string{"repository": alias}
	for _, key := range checkoutKeys {
		if value := o.take(key); value != nil {
			s.Inputs[key] = d.scalar(value)
		}
	}
	if alias == "none" {
		return false
	}
	if strings.Contains(alias, "://") {
		d.advise(main, "declare the repository under resources.repositories and name its alias here", "The inline repository '%s' is not supported yet", alias)
		return false
	}
	d.knownRepository(main)
	return true
}

func (d *decoder) download(s *Step, o *object, main *node) bool {
	switch source := d.scalar(main); source {
	case "none":
		o.accept("artifact", "patterns", "path")
		return false
	case "current":
		d.shorthand(s, o, main, shorthand{"DownloadPipelineArtifact@2", "source", nil, []string{"artifact", "patterns", "path"}})
		if s.Inputs["path"] == "" {
			s.Inputs["path"] = strings.TrimSuffix("$(Pipeline.Workspace)/"+s.Inputs["artifact"], "/")
		}
		return true
	default:
		d.add(main, "'download' of the resource '%s' is not supported yet", source)
		return false
	}
}

// target reads where a step runs.
func (d *decoder) target(n *node) *job.StepTarget {
	if n.isEmpty() {
		return nil
	}
	t := new(job.StepTarget)
	at := n
	if n.kind == scalarNode {
		t.Target = n.text
	} else {
		o := d.object(n)
		if o == nil {
			return nil
		}
		at = o.take("container")
		t.Target = d.scalar(at)
		t.Commands = o.text("commands")
		if t.Commands != "" && t.Commands != "any" && t.Commands != "restricted" {
			d.add(n.get("commands"), "Unexpected value '%s'", t.Commands)
		}
		if settable := o.take("settableVariables"); settable != nil {
			t.SettableVariables = &job.SettableVariables{Allowed: []string{}}
			if settable.text != "none" {
				t.SettableVariables.Allowed = d.texts(settable)
			}
		}
		o.finish()
	}
	if t.Target != "" && t.Target != "host" && d.containers[strings.ToLower(t.Target)] == nil {
		d.warn(at, "the target '%s' is not declared under resources.containers: the step runs where the job runs", t.Target)
		t.Target = ""
	}
	return t
}

// nameSteps names the steps that have no name after their task, with a number when
// several share it.
func (d *decoder) nameSteps(steps []Step) {
	taken := make(map[string]bool)
	count := make(map[string]int)
	for _, s := range steps {
		if !s.named {
			count[s.reference.Name]++
			continue
		}
		if key := strings.ToLower(s.Name); taken[key] {
			d.add(s.at.get("name"), "The step name %s appears more than once. Step names must be unique within a job.", s.Name)
		}
		taken[strings.ToLower(s.Name)] = true
	}
	next := make(map[string]int)
	for i := range steps {
		s := &steps[i]
		if s.named {
			continue
		}
		name := s.reference.Name
		if count[name] == 1 && !taken[strings.ToLower(name)] {
			s.Name = name
			continue
		}
		for s.Name == "" || taken[strings.ToLower(s.Name)] {
			next[name]++
			s.Name = fmt.Sprint(name, next[name])
		}
	}
}

// titleCheckouts gives checkouts without a display name the one that tells what goes
// where.
func (d *decoder) titleCheckouts(steps []Step) {
	count := 0
	for _, s := range steps {
		if s.isCheckout() {
			count++
		}
	}
	for i := range steps {
		s := &steps[i]
		if !s.isCheckout() || s.DisplayName != "" {
			continue
		}
		repository := d.repository(s.Inputs["repository"])
		folder := "s"
		if count > 1 {
			folder = "s/" + repository.Name
		}
		s.DisplayName = fmt.Sprintf("Checkout %s@%s to %s", cmp.Or(repository.Name, s.Inputs["repository"]),
			shortRef(cmp.Or(repository.Ref, "refs/heads/main")), cmp.Or(s.Inputs["path"], folder))
	}
}

func shortRef(ref string) string {
	for _, prefix := range []string{"refs/heads/", "refs/tags/", "refs/"} {
		if short, ok := strings.CutPrefix(ref, prefix); ok {
			return short
		}
	}
	return ref
}
