package bake

import "github.com/dockless-ci/dockless/internal/hint"

// targetKeys are the attributes of a target.
var targetKeys = []string{
	"description", "inherits", "annotations", "attest", "context", "contexts", "dockerfile", "dockerfile-inline", "args", "labels",
	"tags", "cache-from", "cache-to", "target", "secret", "ssh", "platforms", "output", "pull", "no-cache", "network",
	"no-cache-filter", "shm-size", "ulimits", "call", "entitlements", "extra-hosts", "matrix", "name",
}

// readTarget reads the body of a target.
func readTarget(b block, name string, s scope) (*Target, error) {
	t := &Target{Name: name}
	return t, b.attributes(func(key string, n *node) (err error) {
		switch key {
		case "matrix", "name":
		case "description":
			t.Description, err = asString(n, s)
		case "inherits":
			t.Inherits, err = asStrings(n, s)
		case "annotations":
			t.Annotations, err = asStrings(n, s)
		case "attest":
			var list []Entry
			list, err = asEntries(n, s, attestForm)
			for _, e := range list {
				t.Attest = append(t.Attest, Attestation(e))
			}
		case "context":
			t.Context, err = asText(n, s)
		case "contexts":
			t.Contexts, err = asMap(n, s)
		case "dockerfile":
			t.Dockerfile, err = asText(n, s)
		case "dockerfile-inline":
			t.DockerfileInline, err = asText(n, s)
		case "args":
			t.Args, err = asMap(n, s)
		case "labels":
			t.Labels, err = asMap(n, s)
		case "tags":
			t.Tags, err = asStrings(n, s)
		case "cache-from":
			t.CacheFrom, err = asEntries(n, s, cacheForm)
		case "cache-to":
			t.CacheTo, err = asEntries(n, s, cacheForm)
		case "target":
			t.Target, err = asText(n, s)
		case "secret":
			t.Secrets, err = asEntries(n, s, secretForm)
		case "ssh":
			t.SSH, err = asSSH(n, s)
		case "platforms":
			t.Platforms, err = asStrings(n, s)
		case "output":
			t.Outputs, err = asEntries(n, s, outForm)
		case "pull":
			t.Pull, err = asBool(n, s)
		case "no-cache":
			t.NoCache, err = asBool(n, s)
		case "network":
			t.Network, err = asText(n, s)
		case "no-cache-filter":
			t.NoCacheFilter, err = asStrings(n, s)
		case "shm-size":
			t.ShmSize, err = asText(n, s)
		case "ulimits":
			t.Ulimits, err = asStrings(n, s)
		case "call":
			t.Call, err = asText(n, s)
		case "entitlements":
			t.Entitlements, err = asStrings(n, s)
		case "extra-hosts":
			t.ExtraHosts, err = asMap(n, s)
		case "policy", "resources":
			err = hint.With(n.errorf("this is not supported"), "remove it, or build this target with docker buildx bake")
		default:
			err = unknown(n, "a target", key, targetKeys...)
		}
		return err
	})
}
