package runner

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/command"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// handler carries out one logging command. The lock of the node is held, so
// the commands of a step run one after another.
type handler func(a *attempt, c command.Command) error

// commandTable are the logging commands of the service, by area and event. Each
// family lists its own. A nil handler is a command that this agent does not
// support; it is never passed over silently.
type commandTable map[string]map[string]handler

var allCommands = gatherCommands(
	commandTable{"task": {
		"setvariable": setVariable, "setsecret": setSecret, "settaskvariable": setTaskVariable,
		"prependpath": prependPath, "logissue": logIssue, "issue": logIssue, "complete": complete,
		"setprogress": setProgress, "debug": debug,
		"logdetail": logDetail, "setendpoint": setEndpoint,
	}},
	attachmentCommands(), buildCommands(), resultCommands(),
	commandTable{
		"telemetry": {"publish": func(*attempt, command.Command) error { return nil }}, // this agent collects none
		"plugininternal": {"updaterepositorypath": func(*attempt, command.Command) error {
			return errors.New("only the plug-ins of an agent may move a repository, and this agent's checkout needs none")
		}},
	},
)

func gatherCommands(tables ...commandTable) commandTable {
	all := make(commandTable)
	for _, table := range tables {
		for area, events := range table {
			if all[area] == nil {
				all[area] = make(map[string]handler)
			}
			maps.Copy(all[area], events)
		}
	}
	return all
}

// restricted names the commands that a restricted step may use (protocol §8.10).
var restricted = []string{
	"task.setvariable", "task.setsecret", "task.settaskvariable", "task.prependpath", "task.logissue", "task.issue",
	"task.complete", "task.setprogress", "task.logdetail", "task.debug", "telemetry.publish",
}

// commands returns the function that a [splitter] calls for suspect lines.
func (a *attempt) commands() func(line []byte) bool {
	decode := a.x.knob("DECODE_PERCENTS", true)
	return func(line []byte) bool {
		c, found, err := command.Parse(line, decode)
		if err != nil {
			a.node.warn(err.Error())
			return false
		}
		if !found {
			return false
		}
		a.execute(c)
		return true
	}
}

// knob returns a setting of the service's that is a variable of the job or an
// entry of the agent's environment.
func (x *execution) knob(name string, otherwise bool) bool {
	text := x.vars.Value(name)
	if text == "" {
		text, _ = x.cfg.environ(name)
	}
	return vars.Truth(text, otherwise)
}

// addSecret masks a value that a step called a secret. While percents are not
// decoded, a step may still show what it would decode to (protocol §8.11).
func (a *attempt) addSecret(value string) {
	added := a.x.masks.Add(value, command.Unescape(value, true))
	if added.Short {
		a.node.warn(tooShort("A secret that the step set"))
	}
	if added.Partial && !a.x.full.Swap(true) {
		a.node.warn(tooMany("The secret that the step set"))
	}
}

// execute carries out c. What goes wrong is an error on the record, and fails
// the step (protocol §8.9).
func (a *attempt) execute(c command.Command) {
	n := a.node
	events, ok := allCommands[c.Area]
	if !ok {
		n.warn(fmt.Sprintf("The area of the logging command ##vso[%s] is not known.", c.Name()))
		return
	}
	if a.restricted() && !slices.Contains(restricted, c.Name()) {
		n.warn(fmt.Sprintf("The logging command ##vso[%s] is not allowed in a restricted step and was ignored.", c.Name()))
		return
	}
	handle, ok := events[c.Event]
	var err error
	switch {
	case !ok:
		err = errors.New("there is no such command")
	case handle == nil:
		err = errors.New("it is not supported by this agent yet")
	default:
		if err = a.x.offers(c.Area); err == nil {
			c, err = a.outside(c)
		}
		if err == nil {
			err = handle(a, c)
		}
	}
	if err != nil {
		// The data is left out: it may be a secret that was not registered.
		n.fault(fmt.Sprintf("Unable to process command '##vso[%s]' successfully: %v", c.Name(), err))
		for _, advice := range hint.All(err) {
			n.console.print("hint: " + advice)
		}
		n.failed = true
		return
	}
	n.debug("Processed: ##vso[" + c.Name() + "]" + c.Data)
}

var errMultiline = errors.New("a secret variable with line breaks cannot be masked reliably")

func setVariable(a *attempt, c command.Command) error {
	name := c.Property("variable")
	if name == "" {
		return errors.New("the property variable is missing")
	}
	secret := vars.Truth(c.Property("issecret"), false)
	if secret {
		a.addSecret(c.Data)
		if strings.ContainsAny(c.Data, "\r\n") && !a.x.knob("SYSTEM_UNSAFEALLOWMULTILINESECRET", false) {
			return hint.With(errMultiline, "set one secret for each line, or set SYSTEM_UNSAFEALLOWMULTILINESECRET to true")
		}
	}
	if !a.settable(name) {
		a.node.warn(fmt.Sprintf("The step may not set variable %s; it was left as it is.", name))
		return nil
	}
	if vars.Truth(c.Property("isoutput"), false) || a.declared(name) {
		return setOutput(a, name, c.Data, secret)
	}
	if err := a.x.vars.Writable(name); err != nil {
		if a.x.vars.Bool("agent.readOnlyVariables", false) {
			return err
		}
		a.node.warn(fmt.Sprintf("Variable %s is read-only and was overwritten all the same.", name))
	}
	a.x.vars.Set(vars.Variable{
		Name: name, Value: c.Data, Secret: secret,
		ReadOnly:     vars.Truth(c.Property("isreadonly"), false),
		PreserveCase: vars.Truth(c.Property("preservecase"), false),
	})
	return nil
}

// setOutput puts a variable onto the record of the step, where other jobs find
// it, and into this job as "step.name".
func setOutput(a *attempt, name, value string, secret bool) error {
	if a.step.Name == "" {
		return errors.New("an output variable needs a step with a name")
	}
	full := a.step.Name + "." + name
	a.x.vars.Set(vars.Variable{Name: full, Value: value, Secret: secret, ReadOnly: true})
	// A plain output that has a secret in it would show the secret to everybody
	// who reads the record.
	hidden := secret || a.x.masks.Mask(value) != value
	if v, ok := a.x.vars.Get(full); ok && v.Secret {
		hidden = true
	}
	if a.node.record.Variables == nil {
		a.node.record.Variables = make(map[string]job.Variable)
	}
	a.node.record.Variables[name] = job.Variable{Value: value, IsSecret: hidden}
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	if delete(a.x.outputs, full); !hidden {
		a.x.outputs[full] = value
	}
	return nil
}

// restricted reports whether the step may use only some commands: because the
// pipeline says so, or its task.
func (a *attempt) restricted() bool {
	if t := a.step.Target; t != nil && strings.EqualFold(t.Commands, "restricted") {
		return true
	}
	return a.task.definition != nil && a.task.definition.Restrictions.Commands
}

// settable reports whether the step may set name (protocol §8.10). Both the
// pipeline and the task may say no.
func (a *attempt) settable(name string) bool {
	if t := a.step.Target; t != nil && t.SettableVariables != nil && !listed(t.SettableVariables.Allowed, name) {
		return false
	}
	d := a.task.definition
	return d == nil || d.Restrictions.Settable == nil || listed(*d.Restrictions.Settable, name)
}

// listed reports whether a pattern of a list of settable variables fits name.
func listed(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(name))
		return err == nil && ok
	})
}

// declared reports whether the definition of the task calls name an output, so
// that setting it makes one without saying so.
func (a *attempt) declared(name string) bool {
	return a.task.definition != nil && slices.ContainsFunc(a.task.definition.OutputVariables, func(v string) bool {
		return strings.EqualFold(v, name)
	})
}

func setSecret(a *attempt, c command.Command) error {
	a.addSecret(c.Data)
	return nil
}

func setTaskVariable(a *attempt, c command.Command) error {
	name := c.Property("variable")
	if name == "" {
		return errors.New("the property variable is missing")
	}
	if vars.Truth(c.Property("issecret"), false) {
		a.addSecret(c.Data)
	}
	a.settings[name] = c.Data
	return nil
}

func prependPath(a *attempt, c command.Command) error {
	if c.Data == "" {
		return errors.New("the path is missing")
	}
	return a.prependPath(c.Data)
}

func debug(a *attempt, c command.Command) error {
	a.node.debug(c.Data)
	return nil
}

func logIssue(a *attempt, c command.Command) error {
	kind := job.IssueType(strings.ToLower(c.Property("type")))
	if kind != job.Error && kind != job.Warning {
		return fmt.Errorf("the type %q is neither error nor warning", c.Property("type"))
	}
	i := job.Issue{Type: kind, Category: "General", Message: c.Data, Data: make(map[string]string)}
	for key, value := range c.Properties {
		if key != "type" && key != "correlationid" && key != "source" {
			i.Data[key] = value
		}
	}
	// Only a task that was told the id may say where in it an issue comes from.
	if c.Property("source") != "" && c.Property("correlationid") == a.x.correlation {
		i.Data["source"] = c.Property("source")
	}
	if source := c.Property("sourcepath"); source != "" {
		i.Category = "Code"
		source = a.repositoryPath(source, i.Data)
		i.Data["sourcepath"] = source
		where := source
		if line := c.Property("linenumber"); line != "" {
			where += "(" + line
			if column := c.Property("columnnumber"); column != "" {
				where += "," + column
			}
			where += ")"
		}
		text := string(kind)
		if code := c.Property("code"); code != "" {
			text += " " + code
		}
		i.Message = where + ": " + text + ": " + c.Data
	}
	a.node.issue(i)
	return nil
}

// repositoryPath makes an absolute path relative to the repository it lies in,
// and notes which one that is.
func (a *attempt) repositoryPath(source string, data map[string]string) string {
	if !filepath.IsAbs(source) {
		return source
	}
	for alias, dir := range a.x.repos {
		if inside, err := filepath.Rel(dir, source); err == nil && filepath.IsLocal(inside) {
			data["repo"] = alias
			return filepath.ToSlash(inside)
		}
	}
	return source
}

// completions are the results a task may claim, in their exact case, besides
// their numbers.
var completions = []job.Result{job.Succeeded, job.SucceededWithIssues, job.Failed, job.Canceled, job.Skipped}

// titled reads a result as commands spell it.
func titled(text string) (job.Result, bool) {
	for number, r := range completions {
		if text == r.Title() || text == strconv.Itoa(number) {
			return r, true
		}
	}
	return "", false
}

func complete(a *attempt, c command.Command) error {
	result, ok := titled(c.Property("result"))
	if !ok {
		return fmt.Errorf("the result %q is not known", c.Property("result"))
	}
	n := a.node
	n.result = n.result.Merge(result)
	n.record.PercentComplete, n.record.CurrentOperation = 100, c.Data
	n.report()
	if vars.Truth(c.Property("done"), false) {
		n.finishEarly()
	}
	return nil
}

func setProgress(a *attempt, c command.Command) error {
	percent, err := strconv.Atoi(strings.TrimSpace(c.Property("value")))
	if err != nil || percent < 0 || percent > 100 {
		return fmt.Errorf("the value %q is no percentage", c.Property("value"))
	}
	a.node.record.PercentComplete, a.node.record.CurrentOperation = percent, c.Data
	a.node.report()
	return nil
}
