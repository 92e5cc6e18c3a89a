package pipeline

import "slices"

// shorthand is a step that a template sees as a task.
type shorthand struct {
	task  string
	input string      // that the value of the first key is
	fixed [][2]string // inputs that the shorthand sets besides
	keys  []string    // further keys that are inputs
}

var (
	scriptKeys     = []string{"workingDirectory", "failOnStderr"}
	powerShellKeys = slices.Concat(scriptKeys, preferences)
	shorthands     = map[string]shorthand{
		"script":     {"CmdLine@2", "script", nil, scriptKeys},
		"bash":       {"Bash@3", "script", [][2]string{{"targetType", "inline"}}, scriptKeys},
		"powershell": {"PowerShell@2", "script", [][2]string{{"targetType", "inline"}}, powerShellKeys},
		"pwsh":       {"PowerShell@2", "script", [][2]string{{"targetType", "inline"}, {"pwsh", "true"}}, powerShellKeys},
		"publish":    {"PublishPipelineArtifact@1", "path", nil, []string{"artifact"}},
	}
)

// normalSteps returns the value of a step or stepList parameter as a template sees it:
// with shorthand steps written as tasks.
func normalSteps(n *node) *node {
	if n.kind == sequenceNode {
		list := &node{kind: sequenceNode, pos: n.pos}
		for _, item := range n.items {
			list.items = append(list.items, normalStep(item))
		}
		return list
	}
	return normalStep(n)
}

func normalStep(n *node) *node {
	if n.kind != mappingNode || len(n.pairs) == 0 {
		return n
	}
	first := n.pairs[0]
	short, ok := shorthands[first.key.text]
	if !ok {
		return n
	}
	at := first.key.pos
	inputs := &node{kind: mappingNode, pos: at}
	for _, input := range short.fixed {
		inputs.pairs = append(inputs.pairs, pair{newScalar(at, input[0]), newScalar(at, input[1])})
	}
	inputs.pairs = append(inputs.pairs, pair{newScalar(at, short.input), first.value})
	step := &node{kind: mappingNode, pos: n.pos, pairs: []pair{{newScalar(at, "task"), newScalar(at, short.task)}}}
	for _, p := range n.pairs[1:] {
		if slices.Contains(short.keys, p.key.text) {
			inputs.pairs = append(inputs.pairs, p)
			continue
		}
		step.pairs = append(step.pairs, p)
	}
	step.pairs = append(step.pairs, pair{newScalar(at, "inputs"), inputs})
	return step
}
