package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/test/stage"
)

// statusReaders is how many people load pages at once, each one after the other
// with a pause as short as a person's double click.
const (
	statusReaders = 8
	statusPause   = 100 * time.Millisecond
)

// statusPageRow loads the pages of an agent and of the emulator while a job prints
// a hundred thousand lines, and prints a million lines with and without somebody
// who follows them.
func statusPageRow(ctx context.Context, b *bench) (r result, err error) {
	lines, flat := 100_000, 1_000_000
	if b.quick {
		lines, flat = 20_000, 100_000
	}
	var of [2][]time.Duration // agent, emulator
	err = b.withPage(ctx, "status-page", func(address string) error {
		// In coloured bursts with groups, for as long as it takes to load pages often.
		q, err := b.queueScript(ctx, fmt.Sprintf(`for i in $(seq %d); do
  echo "##[group]part $i"
  seq -f $'\e[32mcompiled\e[0m package %%.0f of <many> with the usual flags and "quotes"' 998
  echo "##[endgroup]"
  sleep 0.1
done`, lines/1000))
		if err != nil {
			return err
		}
		of[0], of[1], err = b.readPages(ctx, address, q)
		return err
	})
	if err != nil {
		return r, err
	}
	on, off, err := alternate(b.times(10)/2, func() (took time.Duration, err error) {
		err = b.withPage(ctx, "status-page", func(address string) (err error) {
			took, err = b.printed(ctx, flat, address+"/events")
			return err
		})
		return took, err
	}, func() (took time.Duration, err error) {
		if err := b.forgetLog("status-page-off"); err != nil {
			return 0, err
		}
		err = withAgent(ctx, b, "status-page-off", func(*stage.Program) (err error) {
			took, err = b.printed(ctx, flat, "")
			return err
		})
		return took, err
	})
	if err != nil {
		return r, err
	}
	a, e := quantile(of[0], 0.95), quantile(of[1], 0.95)
	return result{
		ours: fmt.Sprintf("agent p95 %s of %d, emulator p95 %s of %d; %d lines printed in %s with a reader, in %s with the page off",
			show(a), len(of[0]), show(e), len(of[1]), flat, show(median(on)), show(median(off))),
		peer: "–", ratio: "–", met: max(a, e) <= 50*time.Millisecond,
	}, nil
}

// withPage starts an agent with a status page.
func (b *bench) withPage(ctx context.Context, name string, use func(address string) error) (err error) {
	if err := b.forgetLog(name); err != nil {
		return err
	}
	a, err := b.stage.StartAgent(ctx, stage.AgentOptions{Name: name, Env: []string{"DOCKLESS_HTTP_ADDR=127.0.0.1:0"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Stop(ctx)) }()
	if err := waitForSession(ctx, a); err != nil {
		return err
	}
	text, err := os.ReadFile(a.Log)
	if err != nil {
		return err
	}
	address := ""
	for line := range strings.Lines(string(text)) {
		var entry struct{ Msg, Address string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "serving metrics" {
			address = "http://" + entry.Address
		}
	}
	if address == "" {
		return errors.New("the agent does not say where its page is")
	}
	return use(address)
}

// forgetLog removes the log of an earlier agent of this name, in which a session is
// open for ever.
func (b *bench) forgetLog(name string) error {
	err := os.Remove(filepath.Join(b.stage.Dir, name, "agent.log"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// queueScript queues a job of one script.
func (b *bench) queueScript(ctx context.Context, script string) (stage.Job, error) {
	pipeline := "steps:\n- checkout: none\n- bash: |\n    " + strings.ReplaceAll(script, "\n", "\n    ") + "\n  displayName: Print\n"
	jobs, err := b.stage.QueuePipeline(ctx, []byte(pipeline), "", nil)
	if err != nil {
		return stage.Job{}, err
	}
	return jobs[0], nil
}

// readPages loads pages of the agent and the emulator by turns until the job has
// ended, and returns how long each took to arrive whole.
func (b *bench) readPages(ctx context.Context, address string, q stage.Job) (agent, emulator []time.Duration, err error) {
	if _, err := b.stage.WaitFor(ctx, q.ID, "running", func(s stage.Status) bool { return s.State == "running" }); err != nil {
		return nil, nil, err
	}
	step, err := stepOf(ctx, address+"/jobs/"+string(q.ID))
	if err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	over := make(chan struct{})
	g, gctx := errgroup.WithContext(ctx)
	for reader := range statusReaders {
		g.Go(func() error {
			base, to := address, &agent
			if reader%2 == 1 {
				base, to = b.stage.URL, &emulator
			}
			paths := []string{"/", "/jobs/" + string(q.ID), "/jobs/" + string(q.ID) + "/log/" + step, "/jobs/" + string(q.ID) + "/log/" + step + "?from=1", "/jobs"}
			for i := reader; ; i++ {
				took, err := timed(func() error { return load(gctx, base+paths[i%len(paths)], io.Discard) })
				if err != nil {
					return err
				}
				mu.Lock()
				*to = append(*to, took)
				mu.Unlock()
				select {
				case <-over:
					return nil
				default:
				}
				if err := retry.Wait(gctx, statusPause); err != nil {
					return err
				}
			}
		})
	}
	g.Go(func() error {
		defer close(over)
		status, err := b.stage.WaitFor(gctx, q.ID, "completed", stage.Status.Completed)
		if err == nil && status.Result != job.Succeeded {
			err = fmt.Errorf("the job ended as %s", status.Result)
		}
		return err
	})
	return agent, emulator, g.Wait()
}

// liveLog is the link to the log of the script while it runs.
var liveLog = regexp.MustCompile(`id="livetitle">Live log <span class="muted">Print</span>.*/log/([0-9a-f-]{36})">`)

// stepOf waits until the script runs, and returns the id of its step.
func stepOf(ctx context.Context, page string) (string, error) {
	for {
		var text bytes.Buffer
		if err := load(ctx, page, &text); err != nil {
			return "", err
		}
		if m := liveLog.FindSubmatch(text.Bytes()); m != nil {
			return string(m[1]), retry.Wait(ctx, time.Second) // until it is the script's own
		}
		if err := retry.Wait(ctx, 20*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// load loads a page whole.
func load(ctx context.Context, address string, to io.Writer) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("loading %s: %s", address, answer.Status)
	}
	_, err = io.Copy(to, answer.Body)
	return err
}

// printed returns how long a job takes that prints n lines at once, while somebody
// follows events, unless they are empty.
func (b *bench) printed(ctx context.Context, n int, events string) (time.Duration, error) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var follow sync.WaitGroup
	if events != "" {
		follow.Go(func() { _ = load(reading, events, io.Discard) }) // until it is told to stop
	}
	defer follow.Wait()
	defer stop()
	q, err := b.queueScript(ctx, fmt.Sprintf("seq -f 'compiling package %%.0f with the usual flags and some more text to fill a line of a log' %d", n))
	if err != nil {
		return 0, err
	}
	status, err := b.stage.WaitFor(ctx, q.ID, "completed", stage.Status.Completed)
	if err == nil && status.Result != job.Succeeded {
		err = fmt.Errorf("the job ended as %s", status.Result)
	}
	return status.FinishedAt.Sub(status.StartedAt), err
}
