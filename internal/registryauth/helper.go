package registryauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
)

const (
	helperPrefix = "docker-credential-" // what Docker puts before the name of a helper
	tokenUser    = "<token>"            // the user of an identity token, by Docker's convention
	// helperKnowsNone is what a helper writes that has nothing, and then fails
	// (docker/docker-credential-helpers, credentials/error.go).
	helperKnowsNone = "credentials not found in native keychain"
	// helperTimeout bounds one run of a helper: gcloud takes seconds to start on a
	// busy machine, and nobody watches a build for much longer.
	helperTimeout = 30 * time.Second
	// pipePause is how long the output of a helper that has ended may stay open: a
	// child of it may have it still.
	pipePause = time.Second
	// maxHelperOutput is what is read of it; a token has a few kilobytes.
	maxHelperOutput = 1 << 20
	// maxQuote is how much of its complaint an error quotes, in bytes.
	maxQuote = 200
)

// askHelper runs the credential helper of that name for a registry. One that
// knows none has an empty answer. What it writes to its standard error is lost:
// nobody says that it is no secret.
func askHelper(ctx context.Context, name, registry string, bound time.Duration) (answer, error) {
	return runHelper(ctx, helperPrefix+name, registry, bound)
}

// runHelper runs the program of a credential helper.
func runHelper(ctx context.Context, path, registry string, bound time.Duration) (answer, error) {
	program := filepath.Base(path)
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("it took longer than %s", bound))
	defer cancel()
	var out limited
	cmd := exec.CommandContext(ctx, path, "get")
	cmd.Stdin, cmd.Stdout = strings.NewReader(registry), &out
	// That of AWS would keep its tokens in the home directory, where jobs can read.
	cmd.Env = append(cmd.Environ(), "AWS_ECR_DISABLE_CACHE=true")
	// What it has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipePause
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return answer{}, hint.With(fmt.Errorf("the credential helper %s is not on PATH", program), "install %s, or take it out of config.json", program)
	case ctx.Err() != nil:
		return answer{}, hint.With(fmt.Errorf("asking the credential helper %s: %w", program, context.Cause(ctx)), "run echo %s | %s get, as the agent's user, to see why", registry, program)
	case err != nil && strings.TrimSpace(out.String()) == helperKnowsNone:
		return answer{}, nil
	case err != nil:
		return answer{}, hint.With(fmt.Errorf("asking the credential helper %s: %w%s", program, err, complaint(out.String())), "run echo %s | %s get, as the agent's user, to see why", registry, program)
	}
	found, err := readHelper(out.Bytes())
	if err != nil {
		return answer{}, fmt.Errorf("asking the credential helper %s: %w", program, err)
	}
	found.source = "credential helper " + program
	return found, nil
}

// readHelper takes the credentials from the answer of a helper.
func readHelper(text []byte) (answer, error) {
	var given struct{ Username, Secret string }
	if err := json.Unmarshal(text, &given); err != nil {
		return answer{}, errors.New("its answer is no JSON with a user name and a secret") // may be secret, so it is not quoted
	}
	var found answer
	switch {
	case given.Secret == "":
	case given.Username == tokenUser:
		found.conf.IdentityToken = given.Secret
	default:
		found.conf.Username, found.conf.Password = given.Username, given.Secret
	}
	return found, nil
}

// complaint quotes the first line of what a helper that failed has written: by
// the protocol it is its error.
func complaint(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = webToken.ReplaceAllString(strings.ToValidUTF8(line, ""), "***")
	line = tokenLike.ReplaceAllString(line, "***")
	if strings.HasPrefix(line, "{") || line == "" {
		return "" // an answer
	}
	if len(line) > maxQuote {
		line = strings.ToValidUTF8(line[:maxQuote], "") + "…"
	}
	return ": " + line
}

// tokenLike is what could be a secret in base64 or hexadecimal digits: no word of
// people is that long without a space, a slash or a dot.
var tokenLike = regexp.MustCompile(`[A-Za-z0-9+=_-]{24,}`)

// limited keeps the first bytes of what is written to it and drops the rest.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if _, err := l.Buffer.Write(p[:min(len(p), maxHelperOutput-l.Len())]); err != nil {
		return 0, err
	}
	return len(p), nil
}

var _ io.Writer = (*limited)(nil)
