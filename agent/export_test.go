package agent

import "time"

// Hurry replaces the protocol's rhythm with one for tests.
func (a *Agent) Hurry() {
	ms := time.Millisecond
	a.timings = timings{
		retryPause: 10 * ms, poll: 5 * time.Second, request: time.Second, ack: time.Second, unregister: time.Second,
		registerPause: 10 * ms, sessionPause: 50 * ms, sessionConflict: time.Second, sessionPatience: 2 * time.Second,
		reopen: span{0, 20 * ms}, again: span{10 * ms, 20 * ms}, settled: time.Second,
		pollError: span{10 * ms, 20 * ms}, pollErrorLong: span{20 * ms, 40 * ms}, pollPause: 90 * time.Second,
		firstRenewal: span{10 * ms, 20 * ms}, renewal: 100 * ms,
		renewError: span{10 * ms, 20 * ms}, renewErrLong: span{20 * ms, 40 * ms},
		lockAfter: 200 * ms, cancelLeast: 100 * ms, cancelKill: 500 * ms, shutdownKill: 500 * ms,
		complete: 5 * time.Second, completeStop: 2 * time.Second, finishPause: 10 * ms,
		lockAssumed: time.Second, lockPlausible: time.Hour,
	}
}

// SetSessionConflict bounds the attempts to open a session while another is alive.
func (a *Agent) SetSessionConflict(d time.Duration) { a.timings.sessionConflict = d }

// SetRequestTimeout bounds each request of the agent.
func (a *Agent) SetRequestTimeout(d time.Duration) { a.timings.request = d }

// SetCompletion bounds the reports at the end of a job.
func (a *Agent) SetCompletion(d time.Duration) { a.timings.complete = d }
