package agent

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/wholefile"
)

// Leftover is a job that was running when an earlier process died.
type Leftover struct {
	JobID     job.ID        `json:"jobId"`
	JobName   string        `json:"jobName"`
	RequestID job.RequestID `json:"requestId"`
	Started   time.Time     `json:"started"`
}

// Leftover returns the job that an earlier process left behind, or nil. The
// caller removes its containers and processes before it calls [Agent.Run], which
// forgets it.
func (a *Agent) Leftover() (*Leftover, error) { return a.state.leftover() }

// Names in the state directory.
const (
	keyFile   = "agent-key.pem"
	jobFile   = "job.json"
	placeFile = "place.json"
	pemType   = "PRIVATE KEY"
)

// place is where an agent was registered last, by which it finds a pool that was
// renamed meanwhile.
type place struct {
	Server   string     `json:"server"`
	PoolName string     `json:"poolName"` // as the settings said
	PoolID   ado.PoolID `json:"poolId"`
}

// state is a directory that survives a restart. It holds no secret but the key.
type state struct{ dir string }

// key returns the agent's key, and makes it the first time. A key that cannot
// be read is replaced: registering announces the new one.
func (s state) key() (*rsa.PrivateKey, error) {
	path := filepath.Join(s.dir, keyFile)
	text, err := os.ReadFile(path)
	if err == nil {
		if key := parseKey(text); key != nil {
			return key, os.Chmod(path, 0o600)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, s.advised(fmt.Errorf("reading the agent's key: %w", err))
	}
	key, err := ado.GenerateKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the agent's key: %w", err)
	}
	return key, s.write(keyFile, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
}

func parseKey(text []byte) *rsa.PrivateKey {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok || key.N.BitLen() < 2048 {
		return nil
	}
	return key
}

// remember writes down the job that is about to run.
func (s state) remember(l Leftover) error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("remembering job %s: %w", l.JobID, err)
	}
	return s.write(jobFile, text)
}

// forget removes what remember wrote.
func (s state) forget() error {
	if err := os.Remove(filepath.Join(s.dir, jobFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.advised(fmt.Errorf("forgetting the last job: %w", err))
	}
	return nil
}

// settle writes down where the agent is registered, if that is news.
func (s state) settle(p place) error {
	if known, ok := s.placed(); ok && known == p {
		return nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("remembering the pool: %w", err)
	}
	return s.write(placeFile, text)
}

// placed returns where the agent was registered last, if it is known.
func (s state) placed() (p place, ok bool) {
	text, err := os.ReadFile(filepath.Join(s.dir, placeFile))
	return p, err == nil && json.Unmarshal(text, &p) == nil
}

func (s state) leftover() (*Leftover, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, jobFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, s.advised(fmt.Errorf("reading the last job: %w", err))
	}
	var l Leftover
	if json.Unmarshal(bytes.TrimSpace(text), &l) != nil {
		return &Leftover{}, nil // cut short by the crash: there was a job, its name is lost
	}
	return &l, nil
}

// write replaces a file as a whole; only its owner can read it.
func (s state) write(name string, text []byte) (err error) {
	defer func() {
		if err != nil {
			err = s.advised(fmt.Errorf("writing %s: %w", name, err))
		}
	}()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	return wholefile.Write(filepath.Join(s.dir, name), 0o600, text)
}

func (s state) advised(err error) error {
	return hint.With(err, "set DOCKLESS_STATE_DIR to a directory that this user can write")
}
