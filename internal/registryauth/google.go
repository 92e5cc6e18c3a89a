package registryauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/compute/metadata"

	"github.com/docker/cli/cli/config/types"

	"github.com/dockless-ci/dockless/internal/hint"
)

const (
	// googleTimeout is how long the metadata service may take to answer. It is on
	// the same machine; elsewhere nobody answers, and a build would wait for it.
	googleTimeout = time.Second
	// googleToken is where it has a token of the default service account; on GKE
	// that of the pod's, by workload identity.
	googleToken = "instance/service-accounts/default/token"
	// googleUser is the name that Google's registries have for an access token.
	googleUser = "oauth2accesstoken"
)

// google gets an access token of the machine's or the pod's service account.
func (c *Cloud) google(ctx context.Context) (answer, error) {
	asking, cancel := context.WithTimeoutCause(ctx, googleTimeout, fmt.Errorf("no answer within %s", googleTimeout))
	defer cancel()
	text, err := c.metadata.GetWithContext(asking, googleToken)
	refusal, refused := errors.AsType[*metadata.Error](err)
	_, unknown := errors.AsType[metadata.NotDefinedError](err)
	switch {
	case unknown:
		return answer{}, &absentError{"this machine has no service account of Google Cloud"}
	case refused:
		return answer{}, hint.With(fmt.Errorf("asking Google's metadata service: it refused with status %d", refusal.Code),
			"bind the Kubernetes service account of the agent to one of Google Cloud that may use the registry")
	case err != nil && ctx.Err() == nil:
		return answer{}, &absentError{"no metadata service of Google Cloud answers on this machine"}
	case err != nil:
		return answer{}, context.Cause(ctx)
	}
	return readGoogle(text, time.Now())
}

// readGoogle takes the token from an answer of the metadata service.
func readGoogle(text string, now time.Time) (answer, error) {
	var token struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
	}
	if err := json.Unmarshal([]byte(text), &token); err != nil || token.AccessToken == "" {
		return answer{}, errors.New("asking Google's metadata service: its answer has no token")
	}
	found := answer{source: "Google service account of this machine or pod", conf: types.AuthConfig{Username: googleUser, Password: token.AccessToken}}
	if token.ExpiresIn > 0 && token.ExpiresIn < maxLife {
		found.ends = now.Add(time.Duration(token.ExpiresIn) * time.Second)
	}
	return found, nil
}

// maxLife is more than any token lives, in seconds: a year.
const maxLife = 365 * 24 * 60 * 60
