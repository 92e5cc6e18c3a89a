package agent

import "time"

// span is a random time between two.
type span struct{ low, high time.Duration }

// timings are the protocol's rhythm. Tests use a faster one.
type timings struct {
	retryPause time.Duration // first pause of the HTTP client (protocol §1.9)
	poll       time.Duration // one poll, its token included (§1.9: well above the 50 s that the server holds it)
	request    time.Duration // one other request of the agent (§1.9)
	ack        time.Duration // deleting a message (§5.5)
	unregister time.Duration // deleting the agent, and the session before it

	registerPause   time.Duration // before the second attempt to register; it doubles (§2.6)
	sessionPause    time.Duration // between attempts to open a session (§4.2)
	sessionConflict time.Duration // for all of them while another session is alive (§4.2)
	sessionPatience time.Duration // for all of them after other failures: an operator should hear of it (§3.4)

	reopen  span          // before an expired session is replaced, so that a pool that lost all of them does not come back at once
	again   span          // before a deleted agent registers again, for the same reason
	settled time.Duration // a registration that lasted longer than this was no failed attempt

	pollError     span          // after each of the first five failed polls (§5.3)
	pollErrorLong span          // after the later ones
	pollPause     time.Duration // the longest that a server may ask for: shorter than [MaxPollSilence]

	firstRenewal  span          // between attempts to renew before the job starts (§7.1)
	renewal       time.Duration // from one success to the next renewal
	renewError    span          // after each of the first five failures
	renewErrLong  span          // after the later ones
	lockAfter     time.Duration // how long after its end a lock may still be renewed
	cancelLeast   time.Duration // shortest grace of a cancellation (§8.14)
	cancelKill    time.Duration // how long after its grace a job may hang
	shutdownKill  time.Duration // how long a job may take to end when the agent leaves: ten seconds of signals, and post-job work
	complete      time.Duration // logs, records and the event of a job
	completeStop  time.Duration // the same when the drain budget is over
	finishPause   time.Duration // between attempts to finish a request (§7.10)
	lockAssumed   time.Duration // of a lock whose date makes no sense by our clock (§7.1)
	lockPlausible time.Duration // longest lock that does
}

// protocolTimings are those of the protocol where it has any. What comes after
// the drain budget (shutdownKill, completeStop and twice unregister) adds up to
// less than the half minute that Config.DrainTimeout promises.
func protocolTimings() timings {
	return timings{
		retryPause: 10 * time.Second, poll: 100 * time.Second, request: time.Minute, ack: 30 * time.Second, unregister: 3 * time.Second,
		registerPause: 2 * time.Second, sessionPause: 30 * time.Second, sessionConflict: 4 * time.Minute, sessionPatience: 30 * time.Minute,
		reopen: span{0, 10 * time.Second}, again: span{time.Second, 15 * time.Second}, settled: time.Minute,
		pollError: span{15 * time.Second, 30 * time.Second}, pollErrorLong: span{30 * time.Second, time.Minute}, pollPause: 90 * time.Second,
		firstRenewal: span{time.Second, 10 * time.Second}, renewal: time.Minute,
		renewError: span{5 * time.Second, 15 * time.Second}, renewErrLong: span{15 * time.Second, 30 * time.Second},
		lockAfter: 5 * time.Minute, cancelLeast: time.Minute, cancelKill: time.Minute, shutdownKill: 15 * time.Second,
		complete: 10 * time.Minute, completeStop: 8 * time.Second, finishPause: 5 * time.Second,
		lockAssumed: 10 * time.Minute, lockPlausible: 2 * time.Hour,
	}
}
