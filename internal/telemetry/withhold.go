package telemetry

import (
	"regexp"
	"slices"

	"go.opentelemetry.io/otel/attribute"
)

// withheld stands for a text that anything may be in.
const withheld = "withheld"

// What is said of a span whose texts are withheld: what we call it ourselves, and values
// that are no free texts. What is not here is not sent, so that nothing new is by chance.
var (
	plainNames      = []string{"build", "solve", "export cache", "push", "job", "queued", "assigned"}
	plainAttributes = []attribute.Key{
		"container.image.id", "dockless.node", "dockless.platforms", "dockless.result", "buildkit.ref", "buildkit.vertex",
		"rpc.system", "rpc.system.name", "rpc.service", "rpc.method", "rpc.response.status_code",
	}
	// call is the name of a call to BuildKit.
	call = regexp.MustCompile(`^(moby|containerd|grpc|opentelemetry)\.[\w.]+/\w+$`)
	// instruction is what is plain in BuildKit's name for an instruction of a Dockerfile,
	// in which that of the stage is anybody's.
	instruction = regexp.MustCompile(`^\[(?:[^\]]* )?(\d+/\d+)\] (FROM|RUN|COPY|ADD|WORKDIR)\b`)
)

// withhold returns s without the texts of others.
func withhold(s maskedSpan) maskedSpan {
	s.name = plainName(s.name)
	s.attributes = slices.DeleteFunc(s.attributes, func(a attribute.KeyValue) bool {
		switch a.Value.Type() { //nolint:exhaustive // all others are texts, or may hold some
		case attribute.BOOL, attribute.INT64, attribute.FLOAT64:
			return false
		}
		return !slices.Contains(plainAttributes, a.Key)
	})
	s.events = nil
	if s.status.Description != "" {
		s.status.Description = withheld
	}
	return s
}

func plainName(name string) string {
	if slices.Contains(plainNames, name) || call.MatchString(name) {
		return name
	}
	if at := instruction.FindStringSubmatch(name); at != nil {
		return "[" + at[1] + "] " + at[2]
	}
	return withheld
}
