package bake

import (
	"maps"
	"slices"
	"strings"
)

// Group is a name for several targets and groups.
type Group struct {
	Name        string   `json:"-"`
	Description string   `json:"description,omitempty"`
	Targets     []string `json:"targets"`
}

// Target is one image to build. Its JSON is that of a bake file and of what
// buildx prints; a nil field was not set.
type Target struct {
	Name        string `json:"-"`
	Description string `json:"description,omitempty"`

	Inherits []string `json:"inherits,omitempty"`

	Annotations      []string          `json:"annotations,omitempty"`
	Attest           []Attestation     `json:"attest,omitempty"`
	Context          *string           `json:"context,omitempty"`
	Contexts         map[string]string `json:"contexts,omitempty"`
	Dockerfile       *string           `json:"dockerfile,omitempty"`
	DockerfileInline *string           `json:"dockerfile-inline,omitempty"`
	Args             map[string]string `json:"args,omitempty"`
	Labels           map[string]string `json:"labels,omitempty"`
	Tags             []string          `json:"tags,omitempty"`
	CacheFrom        []Entry           `json:"cache-from,omitempty"`
	CacheTo          []Entry           `json:"cache-to,omitempty"`
	Target           *string           `json:"target,omitempty"`
	Secrets          []Entry           `json:"secret,omitempty"`
	SSH              []SSH             `json:"ssh,omitempty"`
	Platforms        []string          `json:"platforms,omitempty"`
	Outputs          []Entry           `json:"output,omitempty"`
	Pull             *bool             `json:"pull,omitempty"`
	NoCache          *bool             `json:"no-cache,omitempty"`
	Network          *string           `json:"network,omitempty"`
	NoCacheFilter    []string          `json:"no-cache-filter,omitempty"`
	ShmSize          *string           `json:"shm-size,omitempty"`
	Ulimits          []string          `json:"ulimits,omitempty"`
	Call             *string           `json:"call,omitempty"`
	Entitlements     []string          `json:"entitlements,omitempty"`
	ExtraHosts       map[string]string `json:"extra-hosts,omitempty"`
}

// overlay returns t with what o sets laid over it. Neither is changed.
func (t Target) overlay(o *Target) Target {
	t.Context, t.Dockerfile, t.DockerfileInline = either(o.Context, t.Context), either(o.Dockerfile, t.Dockerfile), either(o.DockerfileInline, t.DockerfileInline)
	t.Target, t.Network, t.ShmSize, t.Call = either(o.Target, t.Target), either(o.Network, t.Network), either(o.ShmSize, t.ShmSize), either(o.Call, t.Call)
	t.Pull, t.NoCache = either(o.Pull, t.Pull), either(o.NoCache, t.NoCache)
	if o.Description != "" {
		t.Description = o.Description
	}
	t.Args, t.Labels, t.ExtraHosts, t.Contexts = laid(t.Args, o.Args), laid(t.Labels, o.Labels), laid(t.ExtraHosts, o.ExtraHosts), laid(t.Contexts, o.Contexts)
	// These replace …
	if o.Tags != nil {
		t.Tags = o.Tags
	}
	if o.Platforms != nil {
		t.Platforms = o.Platforms
	}
	if o.CacheTo != nil {
		t.CacheTo = o.CacheTo
	}
	if o.Outputs != nil {
		t.Outputs = o.Outputs
	}
	// … and these add to what there is.
	t.Annotations = slices.Concat(t.Annotations, o.Annotations)
	t.Attest = slices.Concat(t.Attest, o.Attest)
	t.CacheFrom = slices.Concat(t.CacheFrom, o.CacheFrom)
	t.Secrets = slices.Concat(t.Secrets, o.Secrets)
	t.SSH = slices.Concat(t.SSH, o.SSH)
	t.NoCacheFilter = slices.Concat(t.NoCacheFilter, o.NoCacheFilter)
	t.Ulimits = slices.Concat(t.Ulimits, o.Ulimits)
	t.Entitlements = slices.Concat(t.Entitlements, o.Entitlements)
	t.Inherits = slices.Concat(t.Inherits, o.Inherits)
	return t
}

// normal returns t without repetitions and empty contexts, and with what its
// network needs.
func (t Target) normal() Target {
	t = t.distinct()
	if t.Network != nil && *t.Network == "host" {
		t.Entitlements = unique(append(slices.Clone(t.Entitlements), networkHost))
	}
	t.Contexts = maps.Clone(t.Contexts)
	maps.DeleteFunc(t.Contexts, func(_, v string) bool { return v == "" })
	return t
}

// distinct returns t without repetitions.
func (t Target) distinct() Target {
	t.Annotations, t.Tags, t.Platforms = unique(t.Annotations), unique(t.Tags), unique(t.Platforms)
	t.NoCacheFilter, t.Ulimits = unique(t.NoCacheFilter), unique(t.Ulimits)
	t.Attest = lastByKey(t.Attest, func(a Attestation) string { return a["type"] })
	t.Secrets = lastByKey(t.Secrets, func(e Entry) string { return e["id"] })
	t.SSH = lastByKey(t.SSH, func(s SSH) string { return s.ID })
	t.CacheFrom, t.CacheTo, t.Outputs = uniqueEntries(t.CacheFrom), uniqueEntries(t.CacheTo), uniqueEntries(t.Outputs)
	t.Entitlements = unique(t.Entitlements)
	return t
}

func either[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// laid returns base with over laid over it.
func laid(base, over map[string]string) map[string]string {
	if len(over) == 0 {
		return base
	}
	out := make(map[string]string, len(base)+len(over))
	maps.Copy(out, base)
	maps.Copy(out, over)
	return out
}

// printed returns t as a bake file has to write it: what looks like an expression
// is marked as text.
func (t Target) printed() *Target {
	mark := strings.NewReplacer("${", "$${", "%{", "%%{").Replace
	each := func(m map[string]string) map[string]string {
		out := make(map[string]string, len(m))
		for k, v := range m {
			out[k] = mark(v)
		}
		return out
	}
	t.Args, t.Labels, t.ExtraHosts = each(t.Args), each(t.Labels), each(t.ExtraHosts)
	t.Annotations = slices.Clone(t.Annotations)
	for i, a := range t.Annotations {
		t.Annotations[i] = mark(a)
	}
	if t.DockerfileInline != nil {
		s := mark(*t.DockerfileInline)
		t.DockerfileInline = &s
	}
	return &t
}
