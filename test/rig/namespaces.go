package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// namespacesFile is where the script before netavark notes which network namespaces the
// containers of a rig got, one path a line. Podman forgets those that it was making when
// it was killed.
const namespacesFile = "namespaces"

// podmansNamespace is the path of a namespace as Podman calls it: with a random id, so
// that nobody else's ever has the same.
var podmansNamespace = regexp.MustCompile(`^/run/netns/netns-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// removeNoted removes the namespaces of the rig with its state in dir, whose processes
// have ended.
func removeNoted(dir string) error {
	noted, err := os.ReadFile(filepath.Join(dir, namespacesFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for network namespaces: %w", err)
	}
	return removeNamespaces(slices.Collect(strings.Lines(string(noted))))
}

// removeNamespaces removes those that are still there, and are Podman's. A process in
// one keeps it until it ends, without the name.
func removeNamespaces(paths []string) error {
	var errs []error
	for _, path := range paths {
		path = strings.TrimSpace(path)
		if !podmansNamespace.MatchString(path) {
			continue
		}
		// EINVAL: it was being made, or is half removed: a file that nothing is mounted on.
		err := syscall.Unmount(path, syscall.MNT_DETACH)
		if err == nil || errors.Is(err, syscall.EINVAL) {
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing network namespace %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// idsOf are the numbers of the namespaces that the links of a subnet lead into.
func idsOf(links []link, octet int) map[int]bool {
	ids := make(map[int]bool)
	for _, k := range links {
		if k.of(octet) && k.Namespace != nil {
			ids[*k.Namespace] = true
		}
	}
	return ids
}

// namespaces are those that the links of a subnet lead into.
func (l remains) namespaces(ctx context.Context, octet int) (paths []string, err error) {
	before := idsOf(l.links, octet)
	if len(before) == 0 {
		return nil, nil
	}
	var named []struct {
		ID   int    `json:"nsid"`
		Name string `json:"name"`
	}
	out, err := exec.CommandContext(ctx, "ip", "-json", "netns", "list-id").Output()
	if err == nil {
		err = json.Unmarshal(out, &named)
	}
	if err != nil {
		return nil, fmt.Errorf("listing network namespaces: %w", err)
	}
	// A number that got free meanwhile is the next namespace's, which may be a living rig's.
	links, err := findLinks(ctx)
	if err != nil {
		return nil, err
	}
	after := idsOf(links, octet)
	for _, n := range named {
		if before[n.ID] && after[n.ID] && n.Name != "" {
			paths = append(paths, filepath.Join("/run/netns", n.Name))
		}
	}
	return paths, nil
}
