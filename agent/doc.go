// Package agent knows the life of one Azure Pipelines agent: it registers, opens
// a session, takes jobs from its messages, keeps each job's request locked while
// a function that it is handed runs the job, and leaves in good order.
//
// [New] checks the settings, [Agent.Run] blocks until the agent was told to stop
// or cannot go on. One goroutine polls for messages all the time, a second one
// runs the job, a third renews the job's request. When the context of Run ends,
// the running job may go on for the drain budget; what then still runs is
// canceled, reported, and waited for.
//
// [Agent.Placeholder] registers an agent that stands for others to come, and
// [Agent.Reap] removes those that went away without a word; both need nothing but
// the settings and end at once.
//
// Errors of Run carry hints that name the setting to change. A red job is never
// an error.
package agent
