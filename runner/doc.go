// Package runner knows how to run one job: it prepares the work folder, the
// variables and the masks, runs the steps one after another, and tells a
// [Reporter] about every record, line and attachment on the way. It talks to
// the operating system, to git, and through the peers in its [Config] to
// Podman and BuildKit; it has never heard of the server.
//
// One use flows like this: [New] once for each agent, then [Runner.Run] for
// each message. The context of Run ends with a [job.Stop] as its cause when the
// job must end early. A red job is a [job.Result]; Run returns an error only
// when the result could not be found out.
//
// Inside, each record of the timeline is a node, which owns its log. What a
// process writes goes through a splitter, which looks for logging commands,
// then through the masker, then line by line to the reporter. Everything that
// leaves the package passes the mask set of the job.
//
// A step runs on the host, or in a container of the job: its attempt knows where.
// Paths are the host's on every level; a container translates them for its
// processes.
package runner
