package doctorcmd

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/hint"
)

// Groups of checks, one for each peer, by the names that --only takes.
const (
	groupSettings = "settings"
	groupMachine  = "machine"
	groupAzure    = "azure-devops"
	groupBuildKit = "buildkit"
	groupPodman   = "podman"
	groupRegistry = "registry"
)

// doctorGroups are the groups in the order in which they are shown.
var doctorGroups = []struct{ name, title string }{
	{groupSettings, "Settings"},
	{groupMachine, "This machine"},
	{groupAzure, "Azure DevOps"},
	{groupBuildKit, "BuildKit"},
	{groupPodman, "Podman"},
	{groupRegistry, "Registries"},
}

func groupNames() []string {
	var names []string
	for _, g := range doctorGroups {
		names = append(names, g.name)
	}
	return names
}

// topic is one kind of check, as docs/doctor.md explains it.
type topic struct {
	group, name string
	asks        string // a question
	failing     string // what a failure means for jobs
	remedy      string
}

// doctorTopics are all that checks ask.
var doctorTopics = []topic{
	{groupSettings, "settings", "can every setting be read, and does it make sense?", "the agent exits with 2 at its start", "correct the variable that is named; [configuration.md](configuration.md) lists them"},

	{groupMachine, "work", "can AZP_WORK be written, and has its disk 256 MiB and 1,000 files left (a warning: 2 GiB)?", "jobs fail at their first file", "free or enlarge the disk, or set AZP_WORK to another"},
	{groupMachine, "state", "can DOCKLESS_STATE_DIR be written?", "the agent cannot keep its key and does not start", "set DOCKLESS_STATE_DIR to a directory of the agent's user"},
	{groupMachine, "bash", "is bash there?", "steps with script or bash fail", "install bash"},
	{groupMachine, "git", "is git there, and new enough?", "every checkout fails", "install a newer git"},
	{groupMachine, "node", "is DOCKLESS_NODE a Node.js that is new enough? Without one: a warning", "tasks that are downloaded fail; the built-in ones need none", "install Node.js in the agent's image, or set DOCKLESS_NODE"},
	{groupMachine, "docker", "is the docker command there, for scripts that call it?", "never fails: without it such scripts do", "install docker's command line"},
	{groupMachine, "probe page", "does the page of DOCKLESS_PROBE_FILE belong to a living agent whose loops beat, or can one be made there?", "Kubernetes restarts the pod, or the agent does not start", "start the agent; or remove the file, or name another"},
	{groupMachine, "user namespaces", "does the kernel give this user a user namespace? Root needs none", "a warning: rootless Podman and BuildKit cannot start", "allow them with sysctl, or use services that run elsewhere"},
	{groupMachine, "devices", "do the specifications of the Container Device Interface (CDI) read, and does a GPU have one?", "a warning: containers do not get the device", "run nvidia-ctk cdi generate"},

	{groupAzure, "authorities", "which authorities are trusted, and do those in DOCKLESS_CA_FILE read?", "no TLS connection is trusted", "correct DOCKLESS_CA_FILE, or install ca-certificates"},
	{groupAzure, "proxy", "does the proxy for AZP_URL take connections, if there is one?", "the server cannot be reached", "correct HTTPS_PROXY, HTTP_PROXY or NO_PROXY"},
	{groupAzure, "address", "does AZP_URL lead to a server, with a certificate that is trusted?", "the agent does not start, or waits", "as the hint says: the address, the network or the authority"},
	{groupAzure, "clock", "how far is this machine's clock from the server's? 30 s is a warning, 5 min a failure", "tokens, signed requests and certificates are taken for old or for those of the future", "let chrony or systemd-timesyncd set the clock"},
	{groupAzure, "identity", "does Microsoft Entra give the identity of AZP_AUTH=azure a token?", "the agent cannot register", "as the hint says: the AZURE_ variables"},
	{groupAzure, "sign-in", "does the server accept the credential?", "the agent exits with 2", "make a new personal access token, or add the identity to the organization"},
	{groupAzure, "scope", "is the token for Agent Pools (read & manage)?", "the agent cannot register", "make a token with that scope"},
	{groupAzure, "pool", "is there a pool AZP_POOL that the owner may see?", "the agent exits with 2", "correct AZP_POOL, or give the owner a role in the pool"},
	{groupAzure, "role", "is the owner an administrator of the pool?", "the agent cannot register", "give the owner the role Administrator on the pool"},
	{groupAzure, "agent", "what does the pool know of AZP_AGENT_NAME? Disabled is a warning", "never fails: a disabled agent gets no jobs", "enable it in the pool"},

	{groupBuildKit, "builder", "which nodes are there to ask?", "builds cannot start", "correct BUILDKIT_HOST and BUILDKIT_TLS_DIR"},
	{groupBuildKit, "certificate", "are our certificate and the node's valid (a warning: for less than 14 days), and does each side trust the other?", "builds cannot start", "make new certificates; see deploy/make-certs.sh"},
	{groupBuildKit, "node", "does buildkitd answer, and how fast?", "builds on it fail; with other nodes, they go there", "start it, or correct BUILDKIT_HOST"},
	{groupBuildKit, "platforms", "does it build for the platforms that BUILDKIT_HOST pins to it, natively or with an emulator?", "builds for that platform fail at their first RUN", "register an emulator, and restart buildkitd"},
	{groupBuildKit, "wanted platforms", "does some node build for each platform of --platform?", "builds for it fail", "add a node or register an emulator"},
	{groupBuildKit, "snapshotter", "is it one that shares files between layers?", "with native, every step copies the whole file system: builds take minutes longer and fill the disk", "a root on ext4 or xfs, or fuse-overlayfs"},
	{groupBuildKit, "disk", "has its disk, if it is here, what DOCKLESS_BUILDER_MIN_FREE asks for (a warning: a tenth), and can it carry a builder?", "no build starts", "dockless builder prune, or a larger disk"},
	{groupBuildKit, "cache", "is its build cache within its ceiling?", "never fails: above it, the disk fills up", "dockless builder prune"},
	{groupBuildKit, "policy", "do the limits of its cache hold?", "the disk fills up", "dockless builder config writes limits that hold"},
	{groupBuildKit, "buildkitd.toml", "do the limits in the file of --buildkitd-config hold?", "the disk fills up, or buildkitd does not start", "as the hint says"},

	{groupPodman, "service", "does the service answer, may this user ask it, and is it Podman 4.0 or later?", "jobs with containers or services fail", "as the hint says: start it, give the user the right, or set CONTAINER_HOST"},
	{groupPodman, "storage", "is its storage one that shares files between layers?", "with vfs, every container copies its whole image", "set the driver overlay in its storage.conf"},
	{groupPodman, "disk", "has the disk of its storage 512 MiB left (a warning: 5 GiB)?", "pulls fail, and databases do not start", "podman system prune, or a larger disk"},

	{groupRegistry, "push", "does the repository of DOCKLESS_CACHE_REPO, or of --registry, take a push? An upload is begun and taken back", "caches are not kept, pushes fail", "as the hint says: the address, the login, the right to write"},
}

// always is a check whose answer is known.
func always(group, name string, r doctor.Result) doctor.Check {
	r.Topic = name
	return doctor.Check{Group: group, Topic: name, Ask: func(context.Context) []doctor.Result { return []doctor.Result{r} }}
}

// ok, skipped, warned and failed are the usual answers.
func ok(format string, args ...any) doctor.Result {
	return doctor.Result{Status: doctor.OK, Detail: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) doctor.Result {
	return doctor.Result{Status: doctor.Skip, Detail: fmt.Sprintf(format, args...)}
}

func warned(advice, format string, args ...any) doctor.Result {
	return doctor.Result{Status: doctor.Warn, Detail: fmt.Sprintf(format, args...), Hint: advice}
}

func failed(err error) doctor.Result {
	hints := hint.All(err)
	for i, h := range hints {
		hints[i] = console.OneLine(h)
	}
	return doctor.Result{Status: doctor.Fail, Detail: err.Error(), Hint: strings.Join(hints, "\n")}
}

// answers makes a question that has one answer out of f.
func answers(f func(context.Context) doctor.Result) func(context.Context) []doctor.Result {
	return func(ctx context.Context) []doctor.Result { return []doctor.Result{f(ctx)} }
}

// WriteTopics prints the table of the checks as Markdown.
func WriteTopics(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| group | check | asks | failing means | what to do |\n|---|---|---|---|---|\n")
	for _, t := range doctorTopics {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", t.group, t.name, console.MarkdownCell(t.asks), console.MarkdownCell(t.failing), console.MarkdownCell(t.remedy))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
