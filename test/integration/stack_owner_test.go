package integration_test

import (
	"maps"
	"strings"
	"testing"
)

// A job's commands make nothing that is not the job's.
func TestWhatStackCommandsMakeBelongsToTheJob(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	// The ids of jobs are made from their names: those of two agents are often one.
	first, second := s, s
	first.env = []string{"DOCKLESS_AGENT=a-1", "DOCKLESS_JOB=0123456789abcdef"}
	second.env = []string{"DOCKLESS_AGENT=a-2", "DOCKLESS_JOB=0123456789abcdef"}
	first.stack("up", "-q", "db").want(t, 0)
	first.stack("run", "-q", "-d", "-T", "--no-deps", "web", "sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait").want(t, 0)
	made := s.ownersOf()
	if len(made) != 4 { // two containers, a network, a volume
		t.Errorf("made: %v", made)
	}
	for name, owner := range made {
		if !strings.HasPrefix(strings.SplitN(name, " ", 2)[1], "pair-a25b1ca4") || owner != "a-1 0123456789abcdef" {
			t.Errorf("%s is of %q, want all of the job's under its mark", name, owner)
		}
	}
	second.stack("up", "-q", "db").want(t, 0)
	if both := s.ownersOf(); len(both) != 7 {
		t.Errorf("two jobs with one id have made: %v", both)
	}
	second.stack("down", "-v", "-t", "2").want(t, 0)
	if left := s.ownersOf(); !maps.Equal(made, left) {
		t.Errorf("after down of the other job there is %v, want %v", left, made)
	}
	first.down()
}

// What a job's commands do is done to nothing that is not the job's, whatever the
// name of its project.
func TestStackCommandsOfAJobLeaveOthersAlone(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	s.stack("-p", "shared", "up", "-q", "db").want(t, 0)
	defer func() {
		s.stack("-p", "shared", "down", "-v", "-t", "2").want(t, 0)
		if left := containersOf(t, s.testStage); len(left) != 0 {
			t.Errorf("left behind by down: %q", left)
		}
	}()
	before := s.ownersOf()
	s.env = []string{"DOCKLESS_AGENT=a-1", "DOCKLESS_JOB=0123456789abcdef"}
	for _, args := range []string{"exec -T db true", "logs db", "stop db", "kill db", "restart db", "pause db", "cp db:/etc/passwd .", "cp compose.yml db:/tmp", "top db", "images db"} {
		s.stack(append([]string{"-p", "shared"}, strings.Fields(args)...)...).want(t, 1).wantError(t, "", "no container for service db")
	}
	for _, args := range []string{"stop", "kill", "down -v"} {
		s.stack(append([]string{"-p", "shared"}, strings.Fields(args)...)...).want(t, 0)
	}
	if ps := s.stack("-p", "shared", "ps", "-q").want(t, 0).stdout; ps != "" {
		t.Errorf("ps lists what is not the job's: %s", ps)
	}
	s.env = nil
	if after := s.ownersOf(); !maps.Equal(before, after) {
		t.Errorf("there is %v, want %v", after, before)
	}
	s.stack("-p", "shared", "exec", "-T", "db", "true").want(t, 0)
}
