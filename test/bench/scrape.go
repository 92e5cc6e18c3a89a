package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/test/stage"
)

// metricsLine is what the agent logs once it answers scrapes.
var metricsLine = regexp.MustCompile(`"msg":"serving metrics","address":"([^"]+)"`)

// scrapeRow asks an idle agent as Prometheus does: over one connection that stays
// open, compressed, and reads all of the answer.
func scrapeRow(ctx context.Context, b *bench) (r result, err error) {
	a, err := b.stage.StartAgent(ctx, stage.AgentOptions{Name: "scrape", Env: []string{"DOCKLESS_HTTP_ADDR=127.0.0.1:0"}})
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, a.Stop(ctx)) }()
	if err := waitForSession(ctx, a); err != nil {
		return result{}, err
	}
	address := metricsLine.FindStringSubmatch(a.Tail())
	if address == nil {
		return result{}, fmt.Errorf("the agent does not say where its metrics are:\n%s", a.Tail())
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	scrape := func() error { return scrapeOnce(ctx, client, "http://"+address[1]+"/metrics") }
	if err := scrape(); err != nil { // opens the connection
		return result{}, err
	}
	var samples []time.Duration
	for range b.times(500) {
		d, err := timed(scrape)
		if err != nil {
			return result{}, err
		}
		samples = append(samples, d)
	}
	p50, p95 := median(samples), quantile(samples, 0.95)
	return result{ours: fmt.Sprintf("p50 %s, p95 %s", show(p50), show(p95)), peer: "–", ratio: "–", met: p95 <= 5*time.Millisecond}, nil
}

func scrapeOnce(ctx context.Context, client *http.Client, url string) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	body, err := io.ReadAll(answer.Body)
	if err == nil && (answer.StatusCode != http.StatusOK || !strings.Contains(string(body), "dockless_build_info")) {
		err = fmt.Errorf("%s answers %s and %d bytes", url, answer.Status, len(body))
	}
	return err
}
