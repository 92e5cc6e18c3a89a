// Package pipeline knows Azure Pipelines YAML: it turns a pipeline file into jobs
// that an agent can run.
//
// [Load] reads a file, evaluates its template expressions and checks it; every key it
// does not know is an error with file, line and column, and one that changes nothing
// outside the service is a warning. [NewRun] starts one execution:
// [Run.Ready] hands out the jobs whose dependencies are complete, [Job.Message] builds
// what the agent is sent, and [Run.Finish] takes the result, until [Run.Done].
//
// The package touches neither the network nor the file system. What needs a server (the
// request, the system connection and its token, collection addresses) is left empty in
// a message, for the emulator or a replay to fill in.
package pipeline
