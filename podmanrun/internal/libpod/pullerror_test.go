package libpod

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheRefusalsOfRegistriesAreToldApart(t *testing.T) {
	for text, want := range map[string]PullKind{
		"reading manifest 1 in reg/x: manifest unknown":                                                                         PullNotFound,
		"reading manifest 1 in reg/x: name unknown: repository name not known to registry":                                      PullNotFound,
		"reading manifest 1 in docker.io/nobody/x: errors:\ndenied: requested access to the resource is denied\nunauthorized":   PullDenied,
		"reading manifest 1 in reg/x: authentication required":                                                                  PullDenied,
		"unable to retrieve auth token: invalid username/password: unauthorized: bad":                                           PullDenied,
		"reading manifest latest in docker.io/library/x: toomanyrequests: You have reached your unauthenticated pull rate":      PullBusy,
		"copying system image from manifest list: fetching blob: received unexpected HTTP status: 429 Too Many Requests":        PullBusy,
		"reading manifest 1 in reg/x: received unexpected HTTP status: 503 Service Unavailable":                                 PullBroken,
		"fetching blob: invalid status code from registry 502 (Bad Gateway)":                                                    PullBroken,
		"pinging container registry reg: Get \"http://reg/v2/\": read tcp 1.2.3.4:5->1.2.3.4:6: read: connection reset by peer": PullBroken,
		"reading blob sha256:aa: unexpected EOF":                                                                                PullBroken,
		"pinging container registry reg: Get \"http://reg/v2/\": EOF":                                                           PullBroken,
		"pinging container registry reg: dial tcp 127.0.0.1:1: connect: connection refused":                                     PullUnreachable,
		"pinging container registry reg: dial tcp: lookup reg on 10.0.0.1:53: no such host":                                     PullUnreachable,
		"pinging container registry reg: tls: failed to verify certificate: x509: signed by unknown":                            PullUnreachable,
		"choosing an image from manifest list: no image found in image index for architecture s390x, OS linux":                  PullPlatform,
		"writing blob: no space left on device":                                                                                 PullOther,
	} {
		if got := readRefusal("reg", text).Origin; got.Kind != want || strings.Contains(got.Text, "\n") {
			t.Errorf("%q is read as %+v, want %s in one line", text, got, want)
		}
	}
}

func TestMirrorsAreToldFromTheRegistryThatTheyStandFor(t *testing.T) {
	const text = `initializing source docker://busybox:1: (Mirrors also failed: [127.0.0.1:5000/library/busybox:1: reading manifest 1 in 127.0.0.1:5000/library/busybox: manifest unknown: manifest unknown] [mirror.ci/library/busybox:1: pinging container registry mirror.ci: dial tcp: connect: connection refused]): docker.io/library/busybox:1: pinging container registry registry-1.docker.io: received unexpected HTTP status: 503 Service Unavailable`
	got := readRefusal("docker.io", text)
	want := &PullError{
		Origin: Refusal{"docker.io", PullBroken, "pinging container registry registry-1.docker.io: received unexpected HTTP status: 503 Service Unavailable"},
		Mirrors: []Refusal{
			{"127.0.0.1:5000", PullNotFound, "reading manifest 1 in 127.0.0.1:5000/library/busybox: manifest unknown: manifest unknown"},
			{"mirror.ci", PullUnreachable, "pinging container registry mirror.ci: dial tcp: connect: connection refused"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the refusal differs (-want +got):\n%s", diff)
	}
	if !got.Temporary() {
		t.Error("a registry that is broken for the moment is not asked again")
	}
	for _, part := range []string{"docker.io failed (", "; mirror 127.0.0.1:5000 does not have the image (", "; mirror mirror.ci cannot be reached ("} {
		if !strings.Contains(got.Error(), part) {
			t.Errorf("Error() = %q, want it to contain %q", got.Error(), part)
		}
	}
}

func FuzzReadRefusal(f *testing.F) {
	f.Add("x: (Mirrors also failed: [a/b:1: no] [c/d:1: unauthorized]): docker.io/b:1: 503")
	f.Add("(Mirrors also failed: []): ")
	f.Fuzz(func(t *testing.T, text string) {
		if said := readRefusal("reg", text).Error(); strings.ContainsAny(said, "\n\r") {
			t.Errorf("the refusal %q has several lines", said)
		}
	})
}
