// Package statuspage knows how to show people what an agent or an emulator does
// right now: its jobs with their logs, builds and services, the agents, and what
// the loops of the process last said of themselves. It is a read-only web page,
// rendered here from plain values ([Overview], [Job], [Log]) that a [Source]
// hands over, and has never heard of Azure DevOps, Podman or BuildKit.
//
// One use flows like this: whoever has something to show implements [Source],
// keeps the end of growing logs in a [Tail], and serves [New] at "/". All texts
// are foreign and are escaped; that no secret is in them is up to the source,
// which hands over what was masked already.
//
// The page works without JavaScript, by reloading itself; with it, /events sends
// what changed.
package statuspage
