package cgroup

import (
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMembershipsAreReadAsTheKernelWritesThem(t *testing.T) {
	got := parseMemberships("9:name=systemd:/\n4:memory:/a:b\n2:cpu,cpuacct:/c\n0::/d\n5:pids\nrubbish\n3:x:relative\n")
	want := []membership{{[]string{"name=systemd"}, "/"}, {[]string{"memory"}, "/a:b"}, {[]string{"cpu", "cpuacct"}, "/c"}, {nil, "/d"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(membership{})); diff != "" {
		t.Errorf("memberships (-want +got):\n%s", diff)
	}
}

func TestAGroupIsFoundBelowTheRootOfItsMountOnly(t *testing.T) {
	for _, c := range []struct {
		root, group, want string
		ok                bool
	}{
		{"/", "/", "/", true},
		{"/", "/a/b", "/a/b", true},
		{"/docker/1", "/docker/1", "/", true},
		{"/docker/1", "/docker/1/x", "/x", true},
		{"/docker/1", "/docker/12", "", false},
		{"/docker/1", "/", "", false},
		{"/..", "/", "", false},   // the mount shows groups above our namespace
		{"/", "/../x", "", false}, // we are outside of our namespace
		{"/", "x", "", false},
	} {
		if got, ok := below(c.root, c.group); got != c.want || ok != c.ok {
			t.Errorf("below(%q, %q) = %q, %v, want %q, %v", c.root, c.group, got, ok, c.want, c.ok)
		}
	}
}

func TestNumbersOfTheKernelAreRead(t *testing.T) {
	if n, ok := parseField("low 0\noom 3\noom_kill 2\noom_kill_x 9\n", "oom_kill"); n != 2 || !ok {
		t.Errorf("oom_kill = %d, %v, want 2", n, ok)
	}
	if n, ok := parseField("oom 3\n", "oom_kill"); ok {
		t.Errorf("oom_kill of an old kernel = %d, want none", n)
	}
	for text, want := range map[string]uint64{"536870912\n": 512 << 20, "max\n": 0, "9223372036854771712\n": 0, "": 0} {
		if n, ok := parseLimit(text); ok != (want > 0) || ok && n != want {
			t.Errorf("parseLimit(%q) = %d, %v, want %d", text, n, ok, want)
		}
	}
	if got := nanoseconds(1<<63, time.Microsecond); got < 0 {
		t.Errorf("the largest number of microseconds is %v", got)
	}
}

func TestNamesOfGroupsStayFileNames(t *testing.T) {
	for _, c := range [][3]string{
		{"agent-1", "9d1f", "dockless.agent-1.9d1f"},
		{"../a/b.c d", "..", "dockless.___a_b_c_d.__"},
		{strings.Repeat("ä", 100), "1", "dockless." + strings.Repeat("_", 64) + ".1"},
	} {
		if got := name(c[0], c[1]); got != c[2] {
			t.Errorf("name(%q, %q) = %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

func FuzzMemberships(f *testing.F) {
	f.Add("4:memory:/process_api/1\n0::/\n", "/docker/1")
	f.Add("0::/../../x\n1:a,b:/c (deleted)\n", "/..")
	f.Add(":::/\n\n::", "/")
	f.Fuzz(func(t *testing.T, text, root string) {
		for _, m := range parseMemberships(text) {
			way, ok := below(root, m.path)
			if ok && (path.Clean(way) != way || path.Join("/top", way) != "/top" && !strings.HasPrefix(path.Join("/top", way), "/top/")) {
				t.Errorf("below(%q, %q) = %q, which leads out of the mount", root, m.path, way)
			}
		}
	})
}

func FuzzVictims(f *testing.F) {
	f.Add("6,1,2,-;oom-kill:constraint=X,oom_memcg=/a,task_memcg=/a/b,task=dd,pid=7,uid=0\n")
	f.Add(";oom-kill:,task_memcg=,task=,pid=")
	f.Fuzz(func(t *testing.T, line string) {
		if v, ok := parseVictim(line); ok && (v.name == "" || !strings.Contains(line, v.group+",task="+v.name)) {
			t.Errorf("parseVictim(%q) = %+v", line, v)
		}
	})
}

func FuzzNumbers(f *testing.F) {
	f.Add("oom_kill 1\n", "oom_kill")
	f.Add("usage_usec 18446744073709551615", "usage_usec")
	f.Add("max", "")
	f.Fuzz(func(t *testing.T, text, key string) {
		if n, ok := parseField(text, key); ok && nanoseconds(n, time.Microsecond) < 0 {
			t.Errorf("%q of %q is negative", key, text)
		}
		if n, ok := parseLimit(text); ok && n >= unlimited {
			t.Errorf("limit of %q = %d", text, n)
		}
	})
}
