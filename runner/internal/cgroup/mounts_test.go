//go:build linux

package cgroup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHierarchiesAreReadFromTheMounts(t *testing.T) {
	got, err := parseMounts(strings.NewReader(strings.Join([]string{
		`23 27 0:22 / /sys rw,relatime - sysfs sysfs rw`,
		`35 31 0:32 /docker/1 /sys/fs/cgroup/memory ro,nosuid master:11 - cgroup cgroup rw,memory`,
		`36 31 0:32 / /sys/fs/cgroup/cpu\040and\040more rw - cgroup cgroup rw,cpu,cpuacct`,
		`41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw`,
	}, "\n")))
	want := []mount{
		{false, "/docker/1", "/sys/fs/cgroup/memory", "rw,memory"},
		{false, "/", "/sys/fs/cgroup/cpu and more", "rw,cpu,cpuacct"},
		{true, "/", "/sys/fs/cgroup/unified", "rw"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mount{})); diff != "" || err != nil {
		t.Errorf("error %v, mounts (-want +got):\n%s", err, diff)
	}
}

func FuzzMounts(f *testing.F) {
	f.Add(`35 31 0:32 /docker/1 /sys/fs/cgroup/memory ro,nosuid master:11 - cgroup cgroup rw,memory`)
	f.Add(`41 31 0:38 / /sys\040x rw - cgroup2 cgroup2 rw`)
	f.Add(`1 2 3:4 \ / rw -`)
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := parseMounts(strings.NewReader(text))
		if err != nil && mounts != nil {
			t.Errorf("both mounts and an error: %v", err)
		}
	})
}
