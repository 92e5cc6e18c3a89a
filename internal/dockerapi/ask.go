package dockerapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/podmanrun"
)

// libpod is the oldest version of Podman's API that answers what is asked here.
const libpod = "/v4.0.0/libpod"

// askTimeout bounds one question or change of our own: a minute means that
// Podman hangs.
const askTimeout = time.Minute

var errAskTimeout = fmt.Errorf("podman did not answer within %s", askTimeout)

// ask sends a request of our own to libpod's API and decodes a successful answer
// into result, unless that is nil. The status is 0 when there is an error.
func (s *Server) ask(ctx context.Context, method, path string, query url.Values, body, result any) (status int, err error) {
	return s.request(ctx, method, libpod+path, query, body, result)
}

// askDocker is ask for Docker's API.
func (s *Server) askDocker(ctx context.Context, method, path string, query url.Values, body, result any) (status int, err error) {
	return s.request(ctx, method, path, query, body, result)
}

func (s *Server) request(ctx context.Context, method, path string, query url.Values, body, result any) (status int, err error) {
	status, answer, err := s.exchange(ctx, method, path, query, body)
	if err == nil && status/100 == 2 && result != nil {
		if err := json.Unmarshal(answer, result); err != nil {
			return 0, fmt.Errorf("reading podman's answer: %w", err)
		}
	}
	return status, err
}

// exchange sends a request and returns what is answered.
func (s *Server) exchange(ctx context.Context, method, path string, query url.Values, body any) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, errAskTimeout)
	defer cancel()
	var data []byte
	if body != nil {
		if data, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://podman"+path, bytes.NewReader(data)) //nolint:gosec // it goes to the Podman service, with names escaped
	if err != nil {
		return 0, nil, err
	}
	req.URL.RawQuery = query.Encode()
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return 0, nil, fmt.Errorf("asking Podman: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return 0, nil, fmt.Errorf("asking Podman: %w", err)
	}
	return resp.StatusCode, answer, nil
}

// thing is what is known of a container, network, volume or pod.
type thing struct {
	ID, Name  string
	Labels    map[string]string
	Anonymous bool // a volume that nobody named
	Config    struct {
		Labels map[string]string // a container's
	}
	ImageName string // of a container that is inspected
	ImageID   string // of one that is listed
}

func (t thing) labels() map[string]string {
	if t.Config.Labels != nil {
		return t.Config.Labels
	}
	return t.Labels
}

// belonging says whose a thing is.
type belonging int

const (
	foreign belonging = iota // another job's
	shared                   // the operator's: made by none of our jobs
	own                      // this job's
)

func (s *Server) belongs(labels map[string]string) belonging {
	switch {
	case s.owner.Owns(labels):
		return own
	case labels[podmanrun.LabelAgent] == "":
		return shared
	}
	return foreign
}

// errAbsent means that there is no such thing.
var errAbsent = errors.New("there is no such thing")

// look finds a thing of a kind ("containers", "networks", …) by name or id.
func (s *Server) look(ctx context.Context, kind, name string) (thing, error) {
	var t thing
	if name == "" {
		return t, errAbsent
	}
	status, err := s.ask(ctx, http.MethodGet, "/"+kind+"/"+url.PathEscape(name)+"/json", nil, nil, &t)
	switch {
	case err != nil:
		return t, err
	case status == http.StatusNotFound:
		return t, errAbsent
	case status/100 != 2:
		return t, fmt.Errorf("podman answered %d when it was asked for %s", status, name)
	}
	return t, nil
}

// ownID finds one of the job's containers or pods and returns its id. There is
// no other as far as the job can see.
func (s *Server) ownID(ctx context.Context, kind, name string) (string, error) {
	if s.known.has(name) {
		return name, nil
	}
	t, err := s.look(ctx, kind, name)
	if err != nil && !errors.Is(err, errAbsent) {
		return "", err
	}
	if err != nil || s.belongs(t.labels()) != own {
		one := map[string]string{"containers": "container", "pods": "pod"}[kind]
		// The words of Docker's: clients look for them.
		return "", &refusal{http.StatusNotFound, fmt.Sprintf("No such %s: %s", one, name)}
	}
	s.known.add(t.ID)
	return t.ID, nil
}

// usable finds a network or volume that the job may use: its own, or one that
// belongs to no job. The error for another's is as if there were none.
func (s *Server) usable(ctx context.Context, kind, name string) (thing, belonging, error) {
	t, err := s.look(ctx, kind, name)
	if err != nil && !errors.Is(err, errAbsent) {
		return t, foreign, err
	}
	whose := s.belongs(t.labels())
	if err != nil || whose == foreign {
		one := map[string]string{"networks": "network", "volumes": "volume"}[kind]
		return t, foreign, &refusal{http.StatusNotFound, fmt.Sprintf("No such %s: %s", one, name)}
	}
	return t, whose, nil
}

// known remembers ids of the job's containers, pods and exec sessions. An id is
// never given again, so it stays true.
type known struct {
	mu  sync.Mutex
	ids map[string]bool
}

func newKnown() *known { return &known{ids: make(map[string]bool)} }

func (k *known) has(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ids[id]
}

// fullID is the length of an id. What is shorter may be a name, which can be
// given to something else later.
const fullID = 64

func (k *known) add(id string) {
	if len(id) != fullID {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ids[id] = true
}
