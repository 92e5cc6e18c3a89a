//go:build !linux

package podmanrun

import (
	"fmt"
	"os"
)

// within refuses a part of a volume: Podman's volumes are on another machine.
func (c *Client) within(_ string, p part) (*os.File, error) {
	return nil, useJoining(fmt.Errorf("%s: Podman %s follows links out of the volume, and nobody can look there on another machine", p, c.Version()))
}

// mountedIs is never reached, as within lets nothing pass.
func mountedIs(*os.File, int, string) error { return os.ErrInvalid }
