// Package dockerapi knows how to give one job a Docker API of its own, made of
// a Podman service that several jobs and agents may share. It talks to that
// service, and to registries when somebody logs in to one without TLS.
//
// One use flows like this: [Open] listens on a unix socket. A request is taken
// apart and judged; what creates something gets the labels of the job's owner,
// what lists or prunes shows the job's own, what names something of another job
// is told that there is no such thing, and everything else goes on to Podman as it
// is, streams and raw connections among it. Healthchecks of the job's containers
// are run by the server, because Podman needs systemd for that, and their states
// are put into Podman's answers. [Server.Close] ends every connection and waits
// for what is being created, so that after it [podmanrun.Client.RemoveOwned]
// finds all.
//
// The owner is a border between jobs that mean well, not a wall: a job that may
// run privileged containers or mount the host's files has the host, and what it
// may do there is the configuration of Podman's to say.
package dockerapi
