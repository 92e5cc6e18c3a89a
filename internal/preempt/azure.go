package preempt

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

// Source: the documentation of Azure's Scheduled Events, version 2020-07-01.
const (
	azureEvents  = "/metadata/scheduledevents?api-version=2020-07-01"
	azureMachine = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
	// azureBound is generous: the first question in the life of a machine may take
	// two minutes, while the service is being enabled.
	azureBound = 2*time.Minute + 10*time.Second
)

// azureEndings are the events that end what runs on a machine. A freeze lasts
// seconds only.
var azureEndings = map[string]string{
	"Preempt":   "the machine is preempted by Azure",
	"Terminate": "the machine is terminated by Azure",
	"Redeploy":  "the machine is moved to other hardware by Azure",
	"Reboot":    "the machine is restarted by Azure",
}

// azureAnswer is what the server says is going to happen.
type azureAnswer struct {
	Events []struct {
		EventType string   `json:"EventType"`
		Resources []string `json:"Resources"` // names of machines
		NotBefore string   `json:"NotBefore"` // a date; empty once the event has begun
	} `json:"Events"`
}

// askAzure asks once for the events of this machine, and waits when there are none.
func askAzure(ctx context.Context, w *Watcher) (*Notice, error) {
	header := http.Header{"Metadata": {"true"}}
	if w.machine == "" {
		name, _, err := w.get(ctx, azureMachine, azureBound, header)
		if err != nil {
			return nil, err
		}
		if w.machine = strings.TrimSpace(string(name)); w.machine == "" {
			return nil, errors.New("the metadata server does not know this machine's name")
		}
	}
	body, _, err := w.get(ctx, azureEvents, azureBound, header)
	if err != nil {
		return nil, err
	}
	var answer azureAnswer
	if json.Unmarshal(body, &answer) != nil {
		return nil, errors.New("the list of scheduled events cannot be read")
	}
	for _, e := range answer.Events {
		reason, ends := azureEndings[e.EventType]
		ours := slices.ContainsFunc(e.Resources, func(name string) bool { return strings.EqualFold(name, w.machine) })
		if ends && ours {
			return &Notice{Reason: reason, Within: untilAzure(e.NotBefore)}, nil
		}
	}
	return nil, retry.Wait(ctx, azurePeriod)
}

// untilAzure returns how long until an event begins. One that has begun, or
// whose date is unreadable, ends the machine now.
func untilAzure(notBefore string) time.Duration {
	at, err := http.ParseTime(notBefore)
	if err != nil {
		return time.Second
	}
	return max(time.Until(at), time.Second)
}
