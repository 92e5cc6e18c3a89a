package buildflags

import (
	"github.com/spf13/pflag"
)

// Flags are the flags of `docker buildx build`. The exported ones are for the
// caller, who acts on them before or after the build. The zero value is ready to
// be registered.
type Flags struct {
	MetadataFile string // as typed
	ImageIDFile  string // as typed
	Builder      string
	Progress     string
	Quiet        bool
	// Load asks for the image where programs of this machine find it.
	Load bool
	// Query, when it has a Method, asks a question instead of building. Request
	// sets it.
	Query Query

	set *pflag.FlagSet

	file, target, network, shmSize, cgroupParent, sbom, provenance, call string
	tags, platforms, buildArgs, labels, annotations, contexts            []string
	secrets, ssh, outputs, cacheFrom, cacheTo, noCacheFilter, attests    []string
	hosts, ulimits, allow, resources                                     []string
	memory, memorySwap, cpuShares, cpuPeriod, cpuQuota, cpuSets, cpuMems string
	push, noCache, pull, check                                           bool
}

// Titles of the groups that [Usages] shows, in its order.
const (
	GroupSource  = "What is built"
	GroupImage   = "What the image is called and says"
	GroupOutput  = "Where the result goes"
	GroupCache   = "What is taken from caches"
	GroupSandbox = "How steps run"
	GroupShow    = "What is shown"
)

// groups is the order of the titles.
var groups = []string{GroupSource, GroupImage, GroupOutput, GroupCache, GroupSandbox, GroupShow}

// annotation is where a flag's group is kept.
const annotation = "dockless_group"

// SetGroup puts a flag into the group with a title.
func SetGroup(set *pflag.FlagSet, flag, title string) {
	if err := set.SetAnnotation(flag, annotation, []string{title}); err != nil {
		panic("buildflags: a flag is grouped before it exists: " + err.Error())
	}
}

// section registers the flags of one group.
type section struct {
	*pflag.FlagSet
	title string
}

func (s section) text(to *string, name, short, value, usage string) {
	s.StringVarP(to, name, short, value, usage)
	SetGroup(s.FlagSet, name, s.title)
}

func (s section) list(to *[]string, name, short, usage string) {
	s.StringArrayVarP(to, name, short, nil, usage)
	SetGroup(s.FlagSet, name, s.title)
}

func (s section) truth(to *bool, name, short, usage string) {
	s.BoolVarP(to, name, short, false, usage)
	SetGroup(s.FlagSet, name, s.title)
}

// Register adds the flags to set, which parses them. It is called once.
func (f *Flags) Register(set *pflag.FlagSet) {
	f.set = set
	in := section{set, GroupSource}
	in.text(&f.file, "file", "f", "", "Dockerfile: a `PATH`, a URL, or \"-\" for standard input (default CONTEXT/Dockerfile)")
	in.text(&f.target, "target", "", "", "`STAGE` to build (default the last)")
	in.list(&f.platforms, "platform", "", "`PLATFORM` to build for, for example linux/arm64; may be repeated, or a list")
	in.list(&f.buildArgs, "build-arg", "", "build argument `NAME=VALUE`, or NAME to take it from the environment")
	in.list(&f.contexts, "build-context", "", "further context `NAME=PLACE`: a directory, a URL, docker-image://IMAGE or oci-layout://DIRECTORY:TAG")
	in.list(&f.secrets, "secret", "", "`SECRET` for RUN --mount=type=secret: id=NAME[,src=FILE|,env=VARIABLE]")
	in.list(&f.ssh, "ssh", "", "`AGENT` or keys for RUN --mount=type=ssh: ID[=SOCKET|=KEY[,KEY]], \"default\" for the usual one")
	in.text(&f.call, "call", "", "build", "`METHOD`: build, check, outline or targets; with ,format=json for programs")
	in.truth(&f.check, "check", "", "look for mistakes in the Dockerfile instead of building, as --call=check does")

	image := section{set, GroupImage}
	image.list(&f.tags, "tag", "t", "name of the image, `REPOSITORY:TAG`; may be repeated")
	image.list(&f.labels, "label", "", "label `NAME=VALUE` of the image")
	image.list(&f.annotations, "annotation", "", "annotation `NAME=VALUE`, or LEVEL:NAME=VALUE with manifest, index, manifest-descriptor or index-descriptor")
	image.text(&f.sbom, "sbom", "", "", "attest a bill of materials, `WANTED`: true, false or generator=IMAGE")
	image.text(&f.provenance, "provenance", "", "", "attest where the image comes from, `WANTED`: true, false, mode=min or mode=max")
	image.list(&f.attests, "attest", "", "`ATTESTATION` of the image: type=sbom or type=provenance, with settings behind commas")

	out := section{set, GroupOutput}
	out.truth(&f.push, "push", "", "push every tag")
	out.truth(&f.Load, "load", "", "load the image into Podman")
	out.list(&f.outputs, "output", "o", "further `OUTPUT`: type=KIND,dest=PATH,… with local, tar, oci, docker, image or registry; or a directory")
	out.text(&f.ImageIDFile, "iidfile", "", "", "write the image's digest to `FILE`")
	out.text(&f.MetadataFile, "metadata-file", "", "", "write what was built to the JSON `FILE`")

	cache := section{set, GroupCache}
	cache.list(&f.cacheFrom, "cache-from", "", "`CACHE` to import: type=registry,ref=REF, type=local,src=DIRECTORY or another type of BuildKit's")
	cache.list(&f.cacheTo, "cache-to", "", "`CACHE` to export: type=registry,ref=REF, type=inline, type=local,dest=DIRECTORY or another")
	cache.truth(&f.noCache, "no-cache", "", "run every step again")
	cache.list(&f.noCacheFilter, "no-cache-filter", "", "`STAGE` whose steps are run again; may be repeated, or a list")
	cache.truth(&f.pull, "pull", "", "ask the registry for base images even if the builder has them")

	run := section{set, GroupSandbox}
	run.list(&f.hosts, "add-host", "", "line of /etc/hosts, `NAME:ADDRESS`, where host-gateway is the node's address")
	run.text(&f.network, "network", "", "default", "`MODE`: default, none or host")
	run.list(&f.allow, "allow", "", "`ENTITLEMENT` that steps may use: network.host, security.insecure or device[=NAME]")
	run.list(&f.ulimits, "ulimit", "", "limit `NAME=SOFT[:HARD]`, for example nofile=1024:2048")
	run.text(&f.shmSize, "shm-size", "", "", "`SIZE` of /dev/shm, for example 128m")
	run.list(&f.resources, "resource", "", "bound of each step, `NAME=VALUE` with memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus or cpuset-mems")
	run.text(&f.cgroupParent, "cgroup-parent", "", "", "control `GROUP` above those of the steps")

	show := section{set, GroupShow}
	show.text(&f.Progress, "progress", "", "auto", "`FORM`: auto, tty, plain, rawjson, quiet or none")
	show.truth(&f.Quiet, "quiet", "q", "no progress; print the digest")
	show.text(&f.Builder, "builder", "", "", "`NAME` of the builder (default BUILDX_BUILDER)")
	f.registerOld(set)
}

// old are flags of earlier times that --resource stands for now.
func (f *Flags) old() map[string]*string {
	return map[string]*string{
		"memory": &f.memory, "memory-swap": &f.memorySwap,
		"cpu-shares": &f.cpuShares, "cpu-period": &f.cpuPeriod, "cpu-quota": &f.cpuQuota,
		"cpuset-cpus": &f.cpuSets, "cpuset-mems": &f.cpuMems,
	}
}

// ignored are flags of the classic builder that ask for what happens anyway.
var ignored = []string{"compress", "force-rm", "rm"}

// refused are flags that have no effect here, with what to do instead: to pass
// over them would build something else than was asked for.
var refused = map[string]string{
	"isolation":    "leave out --isolation: steps on Linux are isolated in one way",
	"security-opt": "use RUN --security=insecure in the Dockerfile with --allow security.insecure",
	"squash":       "copy the files of one stage into another with COPY --from to have them in one layer",
	"policy":       "build with docker buildx on the same builder, or leave out --policy",
	"print":        "use --call",
}

// registerOld adds what scripts still type and no help shows.
func (f *Flags) registerOld(set *pflag.FlagSet) {
	short := map[string]string{"memory": "m", "cpu-shares": "c"}
	for name, to := range f.old() {
		set.StringVarP(to, name, short[name], "", "use --resource "+name+"=VALUE")
	}
	for name := range refused {
		set.String(name, "", "not known here")
	}
	set.Lookup("squash").NoOptDefVal = "true"
	for _, name := range ignored {
		set.Bool(name, false, "what happens anyway")
	}
	hidden := append([]string(nil), ignored...)
	for name := range f.old() {
		hidden = append(hidden, name)
	}
	for name := range refused {
		hidden = append(hidden, name)
	}
	for _, name := range hidden {
		set.Lookup(name).Hidden = true
	}
}
