package agent_test

import (
	"slices"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// The time from queuing a job to its first live line, as design §14 bounds it
// (without the runner's share).
func BenchmarkPickUp(b *testing.B) {
	srv := emulatortest.New(b)
	started(b, newAgent(b, config(b, srv), records(succeed)))
	srv.AwaitState(srv.Queue(emulatortest.Script("true")), emulator.Completed)
	var all []time.Duration
	for b.Loop() {
		begin := time.Now()
		id := srv.Queue(emulatortest.Script("true"))
		for {
			if lines, err := srv.Feed(id); err == nil && len(lines) > 0 {
				break
			}
			time.Sleep(200 * time.Microsecond)
		}
		all = append(all, time.Since(begin))
		if status := srv.AwaitState(id, emulator.Completed); status.Result != job.Succeeded {
			b.Fatalf("job ended as %s", status.Result)
		}
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}
