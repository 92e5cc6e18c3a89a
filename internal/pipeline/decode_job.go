package pipeline

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
)

func itoa(n int) string { return strconv.Itoa(n) }

func (d *decoder) jobs(n *node, pool *node) []*Definition {
	var jobs []*Definition
	for _, item := range d.sequence(n) {
		if def := d.job(item, pool); def != nil {
			jobs = append(jobs, def)
		}
	}
	names := make([]string, len(jobs))
	for i, def := range jobs {
		names[i] = def.Name
	}
	number(names, "Job")
	for i, def := range jobs {
		def.Name = names[i]
		def.DisplayName = cmp.Or(def.DisplayName, def.Name)
	}
	return jobs
}

func (d *decoder) job(n *node, pool *node) *Definition {
	for _, other := range []string{"deployment", "template"} {
		if n.get(other) != nil {
			d.add(n, "'%s' is not supported yet", other)
			return nil
		}
	}
	o := d.object(n)
	if o == nil {
		return nil
	}
	if n.get("job") == nil {
		d.add(n, "There's not enough info to determine what you meant. Add one of these properties: job, deployment, template")
		return nil
	}
	def := &Definition{Name: o.text("job"), DisplayName: o.text("displayName"), at: n}
	def.DependsOn = d.texts(o.take("dependsOn"))
	def.Condition = d.graphCondition(o.take("condition"))
	def.continueOnError = d.lateBool(o.take("continueOnError"))
	def.timeout = d.lateInt(o.take("timeoutInMinutes"))
	def.cancelTimeout = d.lateInt(o.take("cancelTimeoutInMinutes"))
	def.variables = d.variables(o.take("variables"))
	d.uses(o.take("uses"))
	o.idle("templateContext", noContext)
	if own := o.take("pool"); own != nil {
		pool = own
	}
	d.jobBody(def, o, pool)
	o.finish()
	return def
}

// jobBody reads the keys that a job and a file of steps have in common.
func (d *decoder) jobBody(def *Definition, o *object, pool *node) {
	d.pool(def, pool)
	def.strategy = d.strategy(o.take("strategy"))
	def.container = d.containerUse(o.take("container"))
	def.services = d.services(o.take("services"))
	if w := d.object(o.take("workspace")); w != nil {
		def.clean = w.text("clean")
		if clean := w.n.get("clean"); clean != nil && def.clean != "outputs" && def.clean != "resources" && def.clean != "all" {
			d.add(clean, "Unexpected value '%s'", def.clean)
		}
		w.finish()
	}
	def.Steps = d.steps(o.take("steps"), o.n)
	if def.Agentless {
		d.warn(def.at, "the job '%s' runs on the server and is skipped here", cmp.Or(def.Name, "Job"))
	}
}

func (d *decoder) pool(def *Definition, n *node) {
	if n == nil {
		return
	}
	if n.kind == scalarNode {
		def.Agentless = n.text == "server"
		def.Pool.Name = n.text
		return
	}
	o := d.object(n)
	if o == nil {
		return
	}
	def.Pool = Pool{Name: o.text("name"), Demands: d.texts(o.take("demands"))}
	if image := o.take("vmImage"); image != nil {
		d.warn(image, "the image '%s' is not used: the job runs on the machine of the agent that takes it", d.scalar(image))
	}
	o.finish()
}

// uses only authorises resources on the service; the repository aliases must exist.
func (d *decoder) uses(n *node) {
	o := d.object(n)
	if o == nil {
		return
	}
	for _, alias := range d.items(o.take("repositories")) {
		if name := d.scalar(alias); name != "self" && d.repos[strings.ToLower(name)] == nil {
			d.add(alias, "The repository '%s' is not declared under resources.repositories", name)
		}
	}
	d.texts(o.n.get("pools"))
	o.idle("pools", "there is nothing to authorise")
	o.finish()
}

// graphCondition reads the condition of a stage or job.
func (d *decoder) graphCondition(n *node) string {
	text := strings.TrimSpace(d.scalar(n))
	if _, err := parseGraphCondition(text); err != nil {
		d.add(n, "%s", err)
	}
	return text
}

func parseGraphCondition(text string) (*expr.Expr, error) {
	parsed, err := expr.Parse(cmp.Or(text, "succeeded()"), expr.GraphScope(graphValues...))
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return parsed, nil
}

// graphValues are the named values of conditions and $[ ] outside of steps.
var graphValues = []string{"variables", "dependencies", "stageDependencies", "pipeline", "resources"}
