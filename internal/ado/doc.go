// Package ado knows how to speak with Azure DevOps over HTTP as an agent does:
// registration, tokens, sessions, messages, request locks, and the progress of a
// job. There is one file per resource; wire.go and its siblings hold what both
// sides of the wire share.
//
// Three credentials exist and never mix (protocol §0.3). [NewRegistration] takes
// the administrator's, finds the pool and adds the agent. [NewClient] takes the
// agent's key, fetches tokens on its own, and serves the session, its messages
// and the locks of requests. [NewJobClient] takes the token that came inside the
// job message; a [Reporter] on top of it collects records and lines, sends them
// in the background and completes the job.
//
// Requests go through the base client of microsoft/azure-devops-go-api, which
// finds routes by location id and negotiates versions. Tokens, retries, limits
// and errors are the work of the transport below it (transport.go), so they are
// the same for every call. A refusal is a *[StatusError] that also matches the
// sentinel of its cause, for example [ErrLockLost].
package ado
