package libpod

import (
	"regexp"
	"strings"
)

// PullKind says why a registry gave no image.
type PullKind string

// Kinds of refusals. Podman passes on what registries say as text, so they are read
// from that.
const (
	PullNotFound    PullKind = "not found"
	PullDenied      PullKind = "denied"
	PullBusy        PullKind = "busy"        // a limit on requests
	PullBroken      PullKind = "broken"      // a server's error, or the connection was cut
	PullUnreachable PullKind = "unreachable" // nobody answers there, or nobody to trust
	PullPlatform    PullKind = "platform"    // the image does not exist for it
	PullOther       PullKind = "other"
)

// PullError is the refusal of a registry and of those that Podman asked before it.
type PullError struct {
	Origin  Refusal
	Mirrors []Refusal // in the order in which they were asked
}

// Refusal is what one registry said.
type Refusal struct {
	Registry string // host[:port]
	Kind     PullKind
	Text     string // Podman's words
}

func (e *PullError) Error() string {
	said := []string{e.Origin.String()}
	for _, m := range e.Mirrors {
		said = append(said, "mirror "+m.String())
	}
	return strings.Join(said, "; ")
}

// Temporary reports whether another attempt may help: never after a registry has
// said no.
func (e *PullError) Temporary() bool { return e.Origin.Kind == PullBusy || e.Origin.Kind == PullBroken }

// String is one line: what it means, then Podman's words.
func (r Refusal) String() string {
	meaning := map[PullKind]string{
		PullNotFound:    "does not have the image",
		PullDenied:      "lets nobody have the image with these credentials, if it has it",
		PullBusy:        "takes no more requests for now",
		PullBroken:      "failed",
		PullUnreachable: "cannot be reached",
		PullPlatform:    "does not have the image for this platform",
		PullOther:       "gave no image",
	}[r.Kind]
	return r.Registry + " " + meaning + " (" + r.Text + ")"
}

// remedy is what an operator can do.
func (e *PullError) remedy() string {
	switch e.Origin.Kind {
	case PullNotFound:
		return "check the name and the tag of the image"
	case PullDenied:
		return "check the name of the image, and log in to " + e.Origin.Registry + " before, for example with Docker@2"
	case PullBusy:
		return "log in to " + e.Origin.Registry + ", which raises most limits, or name a mirror for it in Podman's registries.conf"
	case PullUnreachable:
		return "check the name of the registry, the proxy and the mirrors in Podman's registries.conf"
	case PullPlatform:
		return "name a platform that the image exists for in the service's platform key"
	}
	return "check the image name, the credentials in the Docker configuration and the mirrors in registries.conf"
}

// readRefusal reads what Podman says of a pull that failed. A pull that asked
// mirrors first has their answers in brackets.
func readRefusal(registry, text string) *PullError {
	const before, after = "(Mirrors also failed: [", "]): "
	e := &PullError{}
	text = strings.Join(strings.Fields(text), " ") // one line
	if _, rest, found := strings.Cut(text, before); found {
		if mirrors, origin, ended := cutLast(rest, after); ended {
			for one := range strings.SplitSeq(mirrors, "] [") {
				name, said, _ := strings.Cut(one, ": ")
				host, _, _ := strings.Cut(name, "/")
				e.Mirrors = append(e.Mirrors, refusalOf(host, said))
			}
			_, text, _ = strings.Cut(origin, ": ")
		}
	}
	e.Origin = refusalOf(registry, text)
	return e
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// refusalKinds are tried in order: what a registry has said counts for more than
// how the connection ended.
var refusalKinds = []struct {
	kind PullKind
	says *regexp.Regexp
}{
	{PullBusy, regexp.MustCompile(`(?i)toomanyrequests|too many requests|rate limit`)},
	{PullDenied, regexp.MustCompile(`(?i)unauthorized|denied|authentication required|forbidden|invalid username|status(?: code)?:? 40[13]\b`)},
	{PullPlatform, regexp.MustCompile(`(?i)no (?:image|matching manifest|child with platform).*(?:architecture|platform|OS )`)},
	{PullNotFound, regexp.MustCompile(`(?i)manifest unknown|name unknown|name_unknown|manifest_unknown|repository .*not (?:found|known)|not found|status(?: code)?:? 404\b`)},
	{PullUnreachable, regexp.MustCompile(`(?i)connection refused|no such host|i/o timeout|no route to host|network is unreachable|tls handshake|x509|certificate|server gave http response|deadline exceeded|server misbehaving`)},
	{PullBroken, regexp.MustCompile(`(?i)status(?: code)?:? 5\d\d\b|connection reset|broken pipe|unexpected EOF|: EOF\b|internal server error|bad gateway|service unavailable|gateway time`)},
}

func refusalOf(registry, text string) Refusal {
	for _, k := range refusalKinds {
		if k.says.MatchString(text) {
			return Refusal{Registry: registry, Kind: k.kind, Text: text}
		}
	}
	return Refusal{Registry: registry, Kind: PullOther, Text: text}
}
