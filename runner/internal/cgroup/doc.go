// Package cgroup knows how to account the processes of a step: in a control group
// of their own where the kernel lets us make one, else by what the kernel says of
// each process that was waited for.
//
// [Open] finds the groups of this process and makes one for a job; [Job.Step] makes
// a child of it for a step, [Group.Start] starts a process in it so that no child
// can escape the count, and [Group.Close] reads what was used and removes the
// group. Processes that live on keep their group until [Job.Close].
//
// A version 1 hierarchy is used as it is. In version 2 only leaves may have
// processes, so the agent moves into a leaf of its own first, and does so only in a
// group in which it is alone. Whatever is missing or refused, the accounting falls
// back and says so in [Usage]; a job never fails for it.
//
// It talks to the file systems of the kernel only: /proc/self and those of cgroups.
package cgroup
