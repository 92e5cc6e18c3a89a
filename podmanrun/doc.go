// Package podmanrun knows how to run dependency containers: the services of a
// compose project, or the services of a job, on the Podman API.
//
// One use flows like this. [Open] reaches a Podman service (or starts one that
// belongs to the client). [Load] reads compose files into a [Project], or
// [Services] makes one from a job's services. [Client.Up] pulls the images,
// starts every service as soon as its dependencies allow, and returns a
// [Stack] when all of them are as healthy as they promise to be;
// [Stack.Environment] says where their ports are. [Client.Down] removes the
// project, and [Client.RemoveOwned] removes what an earlier process of the same
// agent left behind: every container, network and volume carries the labels
// [LabelAgent], [LabelJob] and [LabelProject].
//
// [Client.Run] runs a single command in a container made like a service's, and
// [Client.Exec] one in a container that runs. They, [Client.Logs], [Client.Stop] and
// their like find containers by label, and need no more than the project's name.
//
// A service with a [Keeper] is kept up for others to work in, in place of what its
// image would run; [Client.Users] says who they can be there.
//
// Podman runs periodic healthchecks through systemd timers, which do not exist
// in a container. So this package runs each check itself through the API: often
// while a service starts, at the check's own interval afterwards
// ([Stack.Watch]).
package podmanrun
