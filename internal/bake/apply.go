package bake

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// apply returns t with overrides. Those for pushing and loading come last: they
// change outputs.
func (t Target) apply(list []override) (Target, error) {
	rank := func(o override) int {
		return slices.Index([]string{"push", "load"}, o.key)
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b override) int { return rank(a) - rank(b) })
	for _, o := range list {
		if err := t.override(o); err != nil {
			return t, fmt.Errorf("overriding %s of %s: %w", o.key, t.Name, err)
		}
	}
	return t, nil
}

// override changes one key. What t had in common with other targets is replaced,
// not changed.
func (t *Target) override(o override) error {
	value := strings.Join(o.values, ",")
	texts := map[string]*[]string{"tags": &t.Tags, "platform": &t.Platforms, "no-cache-filter": &t.NoCacheFilter, "ulimits": &t.Ulimits, "entitlements": &t.Entitlements, "annotations": &t.Annotations}
	pairs := map[string]*map[string]string{"args": &t.Args, "contexts": &t.Contexts, "labels": &t.Labels, "extra-hosts": &t.ExtraHosts}
	plain := map[string]**string{"context": &t.Context, "dockerfile": &t.Dockerfile, "target": &t.Target, "call": &t.Call, "shm-size": &t.ShmSize, "network": &t.Network}
	flags := map[string]**bool{"pull": &t.Pull, "no-cache": &t.NoCache}
	entries := map[string]*[]Entry{"cache-from": &t.CacheFrom, "cache-to": &t.CacheTo, "output": &t.Outputs}
	if list, ok := texts[o.key]; ok {
		// An annotation or entitlement is added by "=" too, as buildx does it.
		if keep := o.add || o.key == "entitlements" || o.key == "annotations"; !keep || o.clear {
			*list = nil
		}
		*list = slices.Concat(*list, o.values)
		return nil
	}
	if m, ok := pairs[o.key]; ok {
		*m = laid(*m, map[string]string{o.name: value})
		return nil
	}
	if p, ok := plain[o.key]; ok {
		*p = &value
		return nil
	}
	if list, ok := entries[o.key]; ok {
		f := cacheForm
		if o.key == "output" {
			f = outForm
		}
		added, err := parseAll(f, o.values)
		if !o.add {
			*list = nil
		}
		*list = slices.Concat(*list, added)
		return err
	}
	if o.key == "secret" || o.key == "ssh" || o.key == "attest" {
		return t.overrideEntries(o)
	}
	b, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", value)
	}
	if p, ok := flags[o.key]; ok {
		*p = &b
		return nil
	}
	if o.key == "push" {
		t.Outputs = pushed(t.Outputs, b)
	} else if b {
		t.Outputs = loaded(t.Outputs)
	}
	return nil
}

func (t *Target) overrideEntries(o override) error {
	switch {
	case o.key == "secret" && o.name != "":
		return t.overrideSecret(o.name, strings.Join(o.values, ","))
	case o.key == "secret":
		added, err := parseAll(secretForm, o.values)
		if !o.add {
			t.Secrets = nil
		}
		t.Secrets = slices.Concat(t.Secrets, added)
		return err
	case o.key == "ssh":
		if !o.add {
			t.SSH = nil
		}
		t.SSH = slices.Clone(t.SSH)
		for _, v := range o.values {
			t.SSH = append(t.SSH, parseSSH(v))
		}
		return nil
	}
	added, err := parseAll(attestForm, o.values)
	if o.clear {
		t.Attest = nil
	}
	t.Attest = slices.Clone(t.Attest)
	for _, e := range added {
		t.Attest = append(t.Attest, Attestation(e))
	}
	return err
}

// overrideSecret gives a declared secret another source.
func (t *Target) overrideSecret(id, value string) error {
	i := slices.IndexFunc(t.Secrets, func(e Entry) bool { return e["id"] == id })
	if i < 0 {
		return hint.With(fmt.Errorf("%s has no secret %s", t.Name, id), "declare it in the file, or write --set %s.secret+=id=%s,…", t.Name, id)
	}
	e, err := secretForm.parse(value)
	if err != nil {
		return err
	}
	if e["id"] != "" && e["id"] != id {
		return fmt.Errorf("%q has another id than %s", value, id)
	}
	e["id"] = id
	t.Secrets = slices.Clone(t.Secrets)
	t.Secrets[i] = e
	return nil
}

// pushed returns outputs that push, or none that does.
func pushed(outputs []Entry, push bool) []Entry {
	var out []Entry
	onlyLoads := true
	for _, o := range outputs {
		switch {
		case o["type"] == "registry" && !push:
			continue
		case o["type"] == "image":
			o = maps.Clone(o)
			o["push"] = strconv.FormatBool(push)
		}
		onlyLoads = onlyLoads && o["type"] == "docker"
		out = append(out, o)
	}
	if push && onlyLoads {
		out = append(out, Entry{"type": "image", "push": "true"})
	}
	return out
}

// loaded adds an output that loads the image, unless the outputs are none of an
// image or load it already.
func loaded(outputs []Entry) []Entry {
	for _, o := range outputs {
		switch o["type"] {
		case "docker":
			if o["dest"] == "" {
				return outputs
			}
		case "image", "registry", "oci":
		default:
			return outputs
		}
	}
	return append(slices.Clone(outputs), Entry{"type": "docker"})
}

// AttestEntry is a value of --sbom or --provenance as an entry of the attribute attest.
func AttestEntry(kind, value string) string {
	if b, err := strconv.ParseBool(value); err == nil {
		return fmt.Sprintf("type=%s,disabled=%t", kind, !b)
	}
	return "type=" + kind + "," + value
}
