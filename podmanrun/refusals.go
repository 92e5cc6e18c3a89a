package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// refusal is one of the things that Podman says when it cannot make or start
// something. It has no codes for them, so its words are matched: these are the same
// in 4.3 and 5.8.
type refusal struct {
	kind FailureKind
	says *regexp.Regexp
	// text is what it means: %1 to %9 are what the groups have matched.
	text string
	hint string
	// more asks Podman or this machine for what the message leaves out.
	more func(ctx context.Context, u *up, found []string) (text string)
}

// portTaken has the protocol, the address and the port.
var portTaken = regexp.MustCompile(`listen (tcp|udp)[46]? ?(\S*):(\d+): bind: address already in use`)

// refusals are tried in order.
var refusals = []refusal{
	{
		kind: FailurePortTaken,
		says: portTaken,
		text: "port %3/%1 of %2 is taken",
		hint: "stop what listens there, publish another port, or leave the host's port out and let Podman choose a free one",
		more: func(ctx context.Context, u *up, f []string) string {
			return "by " + u.portHolder(ctx, f[1], f[2], f[3])
		},
	},
	{
		kind: FailureNotPermitted,
		says: regexp.MustCompile(`listen (tcp|udp)[46]? ?(\S*):(\d+): bind: cannot assign requested address`),
		text: "port %3/%1 cannot be published at %2, which is no address of the machine that Podman runs on",
		hint: "publish it at 127.0.0.1, or without an address",
	},
	{
		kind: FailureNotPermitted,
		says: regexp.MustCompile(`(?:listen (?:tcp|udp)[46]? ?\S*:(\d+): bind: permission denied|cannot expose privileged port (\d+))`),
		text: "port %1%2 is below 1024, and this Podman has no right to publish it",
		hint: "publish a port above 1023",
	},
	{
		kind: FailureNameTaken,
		says: regexp.MustCompile(`container name "([^"]+)" is already in use by "?([0-9a-f]+)`),
		text: "the name %1 is taken",
		hint: "leave container_name out, so that the project gives the name, or remove the other container",
		more: func(ctx context.Context, u *up, f []string) string { return "by " + u.client.describe(ctx, f[2]) },
	},
	{
		kind: FailureSubnetTaken,
		says: regexp.MustCompile(`subnet (\S+) is already (?:used|being used)`),
		text: "the subnet %1 overlaps",
		hint: "leave ipam out, so that Podman chooses a free subnet for each project",
		more: func(ctx context.Context, u *up, f []string) string { return u.subnetHolder(ctx, f[1]) },
	},
	{
		kind: FailureMountMissing,
		says: regexp.MustCompile(`(?:statfs|lstat|checking bind mount source) (\S+): no such file or directory`),
		text: "the source %1 of a bind mount does not exist on the machine that Podman runs on",
		hint: "make the directory before, or let create_host_path make it",
	},
	{
		kind: FailureMountMissing,
		says: regexp.MustCompile(`opening seccomp profile failed: open (\S+): no such file or directory`),
		text: "the seccomp profile %1 does not exist on the machine that Podman runs on",
		hint: "put the file where both machines see it under the same path",
	},
	{
		kind: FailureDeviceMissing,
		says: regexp.MustCompile(`unresolvable CDI devices? (.+)$`),
		text: "Podman's machine has no CDI device %1",
		hint: "install the vendor's toolkit there and have it write a specification into /etc/cdi, for example with nvidia-ctk cdi generate",
	},
	{
		kind: FailureDeviceMissing,
		says: regexp.MustCompile(`stat (/dev/\S+): no such file or directory`),
		text: "Podman's machine has no device %1",
		hint: "take it out of devices, or load the driver that makes it",
	},
	{
		kind: FailureNotPermitted,
		says: regexp.MustCompile(`error setting rlimits?\b`),
		text: "Podman may not raise the limits of processes that the container asks for",
		hint: "set ulimits nofile and nproc to no more than Podman's own, or default_ulimits in its containers.conf: without CAP_SYS_RESOURCE they cannot grow",
	},
	{
		kind: FailureCommandMissing,
		says: regexp.MustCompile(`exec: "([^"]+)": (?:executable file not found|stat \S+: no such file)|executable file ` + "`([^`]+)`" + ` not found`),
		text: "the image has no program %1%2",
		hint: "check command and entrypoint; a line for a shell needs one: command: sh -c \"…\"",
	},
	{
		kind: FailureNotPermitted,
		says: regexp.MustCompile(`exec: "([^"]+)": permission denied`),
		text: "%1 is there, but cannot be executed by the container's user",
		hint: "make the file executable in the image, or run it with its interpreter",
	},
	{
		kind: FailurePlatform,
		says: regexp.MustCompile(`exec format error`),
		text: "its program is for another machine",
	},
	{
		kind: FailureUnsupported,
		says: regexp.MustCompile(`sysctl "([^"]+)" is not in a separate kernel namespace`),
		text: "the sysctl %1 is one of the whole machine's, and a container cannot have its own",
		hint: "take it out of sysctls",
	},
	{
		kind: FailureNotPermitted,
		says: regexp.MustCompile(`unable to set memory limit to (\d+)`),
		text: "a memory limit of %1 bytes is too small to start a container in",
		hint: "set mem_limit to 6m or more",
	},
	{
		kind: FailureOther,
		says: regexp.MustCompile(`unable to find user ([^:]+): `),
		text: "the image has no user %1",
		hint: "name a user of the image's /etc/passwd, or a number",
	},
	{
		kind: FailureOther,
		says: regexp.MustCompile(`requested static ip (\S+) not in any subnet on network (\S+)`),
		text: "the address %1 is in no subnet of network %2",
		hint: "give the network an ipam with the subnet that the address is from",
	},
	{
		kind: FailureNotPermitted,
		says: regexp.MustCompile(`OCI permission denied|operation not permitted`),
		text: "Podman may not do what the container asks for",
		hint: "compare privileged, cap_add, devices and ulimits with what Podman itself may do",
	},
}

// read finds out what a refusal of Podman's means. One that is not known stays as
// it is.
func (u *up) read(ctx context.Context, err error) (FailureKind, error) {
	status, ok := errors.AsType[*libpod.StatusError](err)
	if !ok {
		return kindOf(err), err
	}
	for _, r := range refusals {
		found := r.says.FindStringSubmatch(status.Message)
		if found == nil {
			continue
		}
		text := r.fill(found)
		if r.more != nil {
			if more := r.more(ctx, u, found); more != "" {
				text += " " + more
			}
		}
		err = because(err, "%s (%s)", text, oneLine(status.Message))
		if r.hint != "" {
			err = hint.With(err, "%s", r.hint)
		}
		return r.kind, err
	}
	return FailureOther, err
}

func (r *refusal) fill(found []string) string {
	text := r.text
	for i, value := range found[1:] {
		if i == 1 && r.kind == FailurePortTaken {
			value = anyAddress(value)
		}
		text = strings.ReplaceAll(text, fmt.Sprintf("%%%d", i+1), value)
	}
	return text
}

// anyAddress names the address that a listener without one has.
func anyAddress(ip string) string {
	if ip == "" || ip == "0.0.0.0" || ip == "[::]" || ip == "*" {
		return "every address"
	}
	return ip
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
