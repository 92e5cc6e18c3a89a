package buildkitconf

import (
	"maps"
	"strings"
)

// kind is what a key's value has to be.
type kind int

const (
	anything kind = iota // not looked into
	text
	boolean
	number
	amount   // of disk
	duration // text like "48h", or seconds
	list     // of texts
	table
	tables // an array of tables
)

// shape is a key that buildkitd knows.
type shape struct {
	kind kind
	keys keys   // of a table, or of each table of an array
	each *shape // of a table whose keys are names
	old  string // what to write instead; empty: the key is not deprecated
}

// keys are the keys of a table. TOML has case, but buildkitd's decoder reads a
// key in any.
type keys map[string]shape

func (k keys) find(name string) (string, shape, bool) {
	if s, ok := k[name]; ok {
		return name, s, true
	}
	for known, s := range k {
		if strings.EqualFold(known, name) {
			return known, s, true
		}
	}
	return "", shape{}, false
}

func of(k kind) shape          { return shape{kind: k} }
func tableOf(k keys) shape     { return shape{kind: table, keys: k} }
func tablesOf(k keys) shape    { return shape{kind: tables, keys: k} }
func namedBy(each shape) shape { return shape{kind: table, each: &each} }

// known is buildkitd.toml of BuildKit 0.34, as cmd/buildkitd/config defines it; a
// test compares. The decoder there passes over any other key without a word.
var known = keys{
	"debug":                 {kind: boolean, old: `level = "debug" in [log]`},
	"trace":                 {kind: boolean, old: `level = "trace" in [log]`},
	"root":                  of(text),
	"insecure-entitlements": of(list),
	"proxyNetwork":          of(boolean),
	"provenanceEnvDir":      of(text),
	"log":                   tableOf(keys{"format": of(text), "level": of(text)}),
	"grpc": tableOf(keys{
		"address": of(list), "debugAddress": of(text), "uid": of(number), "gid": of(number), "securityDescriptor": of(text),
		"tls": tableOf(keys{"cert": of(text), "key": of(text), "ca": of(text)}),
	}),
	"otel": tableOf(keys{"socketPath": of(text)}),
	"cdi":  tableOf(keys{"disabled": of(boolean), "specDirs": of(list), "autoAllowed": of(list)}),
	"worker": tableOf(keys{
		"oci": tableOf(workerKeys(keys{
			"noProcessSandbox": of(boolean), "userRemapUnsupported": of(text), "binary": of(text),
			"proxySnapshotterPath": of(text), "stargzSnapshotter": of(anything),
		})),
		"containerd": tableOf(workerKeys(keys{
			"address": of(text), "namespace": of(text), "hypervIsolation": of(boolean),
			"runtime": tableOf(keys{"name": of(text), "path": of(text), "options": of(anything)}),
		})),
	}),
	"registry": namedBy(tableOf(keys{
		"mirrors": of(list), "http": of(boolean), "insecure": of(boolean), "ca": of(list), "tlsconfigdir": of(list),
		"keypair": tablesOf(keys{"key": of(text), "cert": of(text)}),
	})),
	"dns":     tableOf(keys{"nameservers": of(list), "options": of(list), "searchDomains": of(list)}),
	"history": tableOf(keys{"maxAge": of(duration), "maxEntries": of(number)}),
	"frontend": tableOf(keys{
		"dockerfile.v0": tableOf(keys{"enabled": of(boolean)}),
		"gateway.v0":    tableOf(keys{"enabled": of(boolean), "allowedRepositories": of(list)}),
	}),
	"system": tableOf(keys{"platformsCacheMaxAge": of(duration), "maxRegistryConcurrency": of(number), "sessionAuthTimeout": of(duration)}),
	"cache":  tableOf(keys{"gha": of(anything)}),
	"compaction": tableOf(keys{
		"enabled": of(boolean), "idleTimeout": of(duration), "maxRetry": of(number), "writesPerCheck": of(number), "sizeWatermark": of(number),
		"sizeGrowthPercent": of(number), "minReclaimBytes": of(number), "minReclaimPercent": of(number), "minReclaimPercentFloor": of(number),
	}),
}

// workerKeys are those of both workers, and more.
func workerKeys(more keys) keys {
	all := keys{
		"enabled": of(boolean), "labels": namedBy(of(text)), "platforms": of(list), "snapshotter": of(text), "rootless": of(boolean),
		"apparmor-profile": of(text), "selinux": of(boolean), "max-parallelism": of(number), "defaultCgroupParent": of(text),
		"networkMode": of(text), "cniConfigPath": of(text), "cniBinaryPath": of(text), "cniPoolSize": of(number), "bridgeName": of(text), "bridgeSubnet": of(text),
		"gc": of(boolean), "gckeepstorage": {kind: amount, old: "maxUsedSpace and reservedSpace"},
		"reservedSpace": of(amount), "maxUsedSpace": of(amount), "minFreeSpace": of(amount),
		"gcpolicy": tablesOf(keys{
			"all": of(boolean), "filters": of(list), "keepDuration": of(duration), "keepBytes": {kind: amount, old: "maxUsedSpace"},
			"reservedSpace": of(amount), "maxUsedSpace": of(amount), "minFreeSpace": of(amount),
		}),
	}
	maps.Copy(all, more)
	return all
}
