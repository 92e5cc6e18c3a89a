package libpod

import (
	"context"
	"net/http"
)

// Info is what the service says about itself and the machine it runs on.
type Info struct {
	Host struct {
		Arch           string `json:"arch"`
		CgroupVersion  string `json:"cgroupVersion"`
		NetworkBackend string `json:"networkBackend"`
		OCIRuntime     struct {
			Name string `json:"name"`
		} `json:"ociRuntime"`
		Security struct {
			Rootless bool `json:"rootless"`
		} `json:"security"`
	} `json:"host"`
	Store struct {
		Driver    string `json:"graphDriverName"`
		Root      string `json:"graphRoot"`
		Allocated int64  `json:"graphRootAllocated"` // bytes; the size of its disk
		Used      int64  `json:"graphRootUsed"`      // of these, by whomever
	} `json:"store"`
}

// Info asks the service.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var answer Info
	err := c.call(ctx, request{method: http.MethodGet, path: "/info", what: "asking podman about itself"}, &answer)
	return answer, err
}
