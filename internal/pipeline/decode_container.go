package pipeline

import (
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// container is a container specification. Its alias is empty when it is inline.
type container struct{ job.Container }

// containerUse names a container by alias, image or specification; text may be $[ ].
// The zero value is no container.
type containerUse struct {
	at     *node
	text   string
	inline *container
}

// service is one entry of a job's services.
type service struct {
	name string
	use  containerUse
}

func (d *decoder) containerUse(n *node) containerUse {
	switch {
	case n.isEmpty():
		return containerUse{}
	case n.kind == scalarNode:
		d.checkRuntime(n)
		return containerUse{at: n, text: strings.TrimSpace(n.text)}
	case n.kind == mappingNode && n.get("alias") != nil:
		o := d.object(n)
		use := containerUse{at: n, text: o.text("alias")}
		o.finish()
		return use
	}
	o := d.object(n)
	if o == nil {
		return containerUse{}
	}
	c := d.container(o)
	o.finish()
	return containerUse{at: n, inline: c}
}

// container reads the keys of a specification.
func (d *decoder) container(o *object) *container {
	c := new(container)
	image := o.take("image")
	c.Properties = job.ContainerProperties{
		Image:      strings.TrimSpace(d.scalar(image)),
		Options:    o.text("options"),
		Env:        d.textMap(o.take("env")),
		Ports:      d.texts(o.take("ports")),
		Volumes:    d.texts(o.take("volumes")),
		LocalImage: d.boolean(o.take("localImage"), false),
	}
	if endpoint := o.text("endpoint"); endpoint != "" {
		c.Endpoint = &job.EndpointReference{Name: endpoint}
		d.warn(o.key("endpoint"), "the service connection '%s' is not known here: the image is pulled with the agent's own credentials", endpoint)
	}
	if socket := o.take("mapDockerSocket"); socket != nil {
		value := d.boolean(socket, true)
		c.Properties.MapDockerSocket = &value
	}
	c.Properties.ReadOnlyMounts = d.readOnlyMounts(o.take("mountReadOnly"))
	o.refuse("type", "azureSubscription", "resourceGroup", "registry", "repository")
	if image.isEmpty() {
		d.add(o.n, "There's not enough info to determine what you meant. Add one of these properties: image")
	}
	return c
}

// readOnlyMounts reads which of the agent's directories a container may not change.
func (d *decoder) readOnlyMounts(n *node) []string {
	if n.isEmpty() {
		return nil
	}
	o := d.object(n)
	if o == nil {
		return nil
	}
	var names []string
	for _, name := range []string{"work", "externals", "tools", "tasks"} {
		if d.boolean(o.take(name), false) {
			names = append(names, name)
		}
	}
	o.finish()
	return names
}

func (d *decoder) services(n *node) []service {
	if n.isEmpty() {
		return nil
	}
	if n.kind != mappingNode {
		d.add(n, "Expected a mapping")
		return nil
	}
	var all []service
	for _, p := range n.pairs {
		use := d.containerUse(p.value)
		if use.at == nil {
			d.add(p.key, "The service '%s' names no container", p.key.text)
			continue
		}
		all = append(all, service{p.key.text, use})
	}
	return all
}

// resources reads what the file declares to use.
func (d *decoder) resources(n *node) {
	if n.isEmpty() {
		return
	}
	if n.kind == sequenceNode {
		d.legacyResources(n)
		return
	}
	o := d.object(n)
	if o == nil {
		return
	}
	for _, item := range d.sequence(o.take("repositories")) {
		d.repositoryResource(item)
	}
	for _, item := range d.sequence(o.take("containers")) {
		d.containerResource(item)
	}
	o.refuse("pipelines", "builds", "packages", "webhooks")
	o.finish()
}

// legacyResources reads the older list form, which only says how self is checked out.
func (d *decoder) legacyResources(n *node) {
	for _, item := range n.items {
		o := d.object(item)
		if o == nil {
			continue
		}
		if repo := o.text("repo"); repo != "self" {
			d.add(item, "Unexpected value '%s': the list form of 'resources' knows 'repo: self' only", repo)
		}
		o.refuse("clean", "fetchDepth", "lfs", "submodules")
		o.finish()
	}
}

func (d *decoder) containerResource(n *node) {
	o := d.object(n)
	if o == nil {
		return
	}
	alias := o.take("container")
	c := d.container(o)
	o.idle("trigger", noStarts)
	o.finish()
	if alias.isEmpty() {
		d.add(n, "There's not enough info to determine what you meant. Add one of these properties: container")
		return
	}
	c.Alias = d.scalar(alias)
	key := strings.ToLower(c.Alias)
	if d.containers[key] != nil {
		d.add(alias, "'%s' is already defined", c.Alias)
		return
	}
	d.containers[key] = c
}

// repository is a declared repository with what the caller of Load knows about it.
type repository struct {
	Repository
	alias string
	known bool // the caller said where it is
}

func (d *decoder) repositoryResource(n *node) {
	o := d.object(n)
	if o == nil {
		return
	}
	alias := o.take("repository")
	r := &repository{alias: d.scalar(alias)}
	r.Type, r.Name, r.Ref = o.text("type"), o.text("name"), o.text("ref")
	o.idle("endpoint", "the repository is fetched with the credentials given for this run")
	o.idle("trigger", noStarts)
	o.finish()
	if alias.isEmpty() {
		d.add(n, "There's not enough info to determine what you meant. Add one of these properties: repository")
		return
	}
	if strings.EqualFold(r.alias, "self") {
		if r.Type+r.Name+r.Ref != "" { // old files may declare it
			d.warn(n, "what is said about 'self' has no effect here: it is the repository that the run was started for")
		}
		return
	}
	key := strings.ToLower(r.alias)
	if d.repos[key] != nil {
		d.add(alias, "'%s' is already defined", r.alias)
		return
	}
	if given, ok := job.Lookup(d.given.Repositories, r.alias); ok {
		name, ref := r.Name, r.Ref
		r.Repository, r.known = given, true
		if r.Name == "" {
			r.Name = name
		}
		if r.Ref == "" {
			r.Ref = ref
		}
	}
	r.Name = r.Name[strings.LastIndexByte(r.Name, '/')+1:]
	d.repos[key] = r
}

// repository returns what is known about an alias.
func (d *decoder) repository(alias string) Repository {
	if r := d.repos[strings.ToLower(alias)]; r != nil {
		return r.Repository
	}
	self := d.given.Repository
	if self.Name == "" {
		self.Name = d.given.Definition
	}
	return self
}

// knownRepository reports an alias that is neither self nor declared, and one whose
// place nobody gave.
func (d *decoder) knownRepository(n *node) {
	alias := d.scalar(n)
	r := d.repos[strings.ToLower(alias)]
	switch {
	case strings.EqualFold(alias, "self") || alias == "":
	case r == nil:
		d.add(n, "The repository '%s' is not declared under resources.repositories", alias)
	case !r.known:
		d.add(n, "It is not known here where the repository '%s' is", alias)
	}
}
