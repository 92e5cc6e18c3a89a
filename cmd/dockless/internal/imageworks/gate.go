package imageworks

import (
	"log/slog"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// OpenGate returns the gate that the settings ask for; nil is none.
func OpenGate(c buildxsetup.Config, log *slog.Logger) (*buildxsetup.Gate, error) {
	config, err := c.Gate()
	if err != nil || config == nil {
		return nil, err
	}
	return buildxsetup.NewGate(*config, log), nil
}

// Gated has builds pass the gate.
func Gated(o imagebuild.Options, g *buildxsetup.Gate) imagebuild.Options {
	if g != nil {
		o.Gate, o.Watch, o.Full = g.Admit, g.Watch, g.Relieve
	}
	return o
}
