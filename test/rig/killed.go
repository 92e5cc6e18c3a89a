package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// remainsTimeout bounds the removal of what a killed rig left in the kernel, which
// takes milliseconds.
const remainsTimeout = 30 * time.Second

var errRemains = fmt.Errorf("looking for what killed rigs left took longer than %s", remainsTimeout)

// remains are the links and rules of this machine, among them what the containers
// of rigs left that were killed. Their ports would stay redirected to nowhere, and
// whoever got one of them later would not be reached there.
type remains struct {
	links []link
	rules string // as iptables-save prints them
}

type link struct {
	Name      string `json:"ifname"`
	Master    string `json:"master"`
	Namespace *int   `json:"link_netnsid"` // that its other end is in; nil: there is none
}

// findRemains looks once. Where a program is missing, Podman could have made nothing.
func findRemains(ctx context.Context) (l remains, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, remainsTimeout, errRemains)
	defer cancel()
	if l.links, err = findLinks(ctx); err != nil && !errors.Is(err, exec.ErrNotFound) {
		return l, err
	}
	rules, err := exec.CommandContext(ctx, "iptables-save").Output()
	if err != nil && !errors.Is(err, exec.ErrNotFound) {
		return l, fmt.Errorf("listing rules: %w", err)
	}
	l.rules = string(rules)
	return l, nil
}

func findLinks(ctx context.Context) (links []link, err error) {
	out, err := exec.CommandContext(ctx, "ip", "-json", "link", "show").Output()
	if err == nil {
		err = json.Unmarshal(out, &links)
	}
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	return links, nil
}

// of reports whether a link belongs to a subnet.
func (l link) of(octet int) bool {
	prefix := bridgePrefix(octet)
	return strings.HasPrefix(l.Name, prefix) || strings.HasPrefix(l.Master, prefix)
}

// any reports whether there is something of a subnet.
func (l remains) any(octet int) bool {
	return undoing(l.rules, octet) != "" || slices.ContainsFunc(l.links, func(k link) bool { return k.of(octet) })
}

// removeRemains takes away what there is of a subnet, which the caller holds: what was
// seen before may have been a rig's that has ended well since.
func removeRemains(ctx context.Context, octet int) error {
	l, err := findRemains(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, remainsTimeout, errRemains)
	defer cancel()
	namespaces, err := l.namespaces(ctx, octet) // while links lead there
	errs := []error{err}
	for _, link := range l.links {
		if !link.of(octet) {
			continue
		}
		if out, err := exec.CommandContext(ctx, "ip", "link", "delete", link.Name).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("removing link %s, which a killed rig left: %w: %s", link.Name, err, bytes.TrimSpace(out)))
		}
	}
	errs = append(errs, removeNamespaces(namespaces))
	if script := undoing(l.rules, octet); script != "" {
		restore := exec.CommandContext(ctx, "iptables-restore", "--noflush", "--wait")
		restore.Stdin = strings.NewReader(script)
		if out, err := restore.CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("removing the rules of 10.%d.0.0/16, which a killed rig left: %w: %s", octet, err, bytes.TrimSpace(out)))
		}
	}
	return errors.Join(errs...)
}

// containersChain is the chain of one container's ports.
var containersChain = regexp.MustCompile(`-j (NETAVARK-DN-\w+)`)

// undoing is what iptables-restore reads to remove what iptables-save prints of a
// subnet; empty when that is nothing.
func undoing(saved string, octet int) string {
	lines := strings.Split(saved, "\n")
	address := fmt.Sprintf(" 10.%d.", octet)
	var chains []string // that lead into the subnet
	for _, line := range lines {
		name, isRule := strings.CutPrefix(line, "-A ")
		name, _, _ = strings.Cut(name, " ")
		if isRule && strings.HasPrefix(name, "NETAVARK-DN-") && strings.Contains(line, address) && !slices.Contains(chains, name) {
			chains = append(chains, name)
		}
	}
	var script, table strings.Builder
	var dropped []string
	for _, line := range lines {
		switch rule, isRule := strings.CutPrefix(line, "-A "); {
		case strings.HasPrefix(line, "*"):
			table.Reset()
			dropped = nil
			table.WriteString(line + "\n")
		case line == "COMMIT":
			for _, chain := range dropped {
				table.WriteString("-F " + chain + "\n-X " + chain + "\n")
			}
			if strings.Count(table.String(), "\n") > 1 {
				script.WriteString(table.String() + "COMMIT\n")
			}
		case isRule:
			chain, _, _ := strings.Cut(rule, " ")
			if slices.Contains(chains, chain) {
				continue // it goes with its chain
			}
			to := containersChain.FindStringSubmatch(rule)
			if to != nil && slices.Contains(chains, to[1]) {
				if !slices.Contains(dropped, to[1]) {
					dropped = append(dropped, to[1])
				}
			} else if !strings.Contains(line, address) || !strings.Contains(line, "NETAVARK") && !strings.Contains(line, "netavark") {
				continue
			}
			table.WriteString("-D " + rule + "\n")
		}
	}
	return script.String()
}
