package emulator_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// conformance is the emulator's half of the checklist of §13: what each line asks for
// and the tests that hold it. A line without a test says why.
var conformance = []struct {
	line, asks string
	tests      []string
	later      string
}{
	{"S1", "locations of every resource by OPTIONS", []string{"TestLocationsAreAnnouncedAsInAppendixA"}, ""},
	{"S2", "connectionData with Basic and with Bearer", []string{"TestOnlyAValidCredentialConnects"}, ""},
	{"S3", "a token for a valid assertion, a refusal for every other", []string{"TestAnAssertionIsVerified"}, ""},
	{"S4", "one live session per agent", []string{"TestAnAgentHasOneSession", "TestSessionsExpireOnDemand"}, ""},
	{"S5", "encrypted messages, and a plain mode", []string{"TestMessagesAreEncryptedUnlessTheServerIsPlain"}, ""},
	{"S6", "messages in order, kept until deleted", []string{"TestAMessageStaysUntilItIsDeleted", "TestAPollIsHeldAndAnsweredAtOnce", "TestWrongDeletionsAreRefused"}, ""},
	{"S7", "a held poll, then an empty answer", []string{"TestAPollIsHeldAndAnsweredAtOnce"}, ""},
	{"S8", "renewals with the zero lock token, and locks that are lost", []string{"TestARenewalMovesTheLock", "TestWrongRenewalsAreRefused", "TestTheLockCanBeLostOnDemand"}, ""},
	{"S9", "records merged field by field", []string{"TestRecordsMergeFieldByField"}, ""},
	{"S10", "feed and logs apart, with line counts", []string{"TestLogsAreStoredByPage", "TestWrongFeedBatchesAreViolations"}, ""},
	{"S11", "task zips, and a task that prints its environment", []string{"TestTasksAreHandedOut"}, ""},
	{"S12", "one completion per job, then 404", []string{"TestAJobCompletesOnce"}, ""},
	{"S13", "faults on demand", nil, "the control call for faults is a later issue; clients test theirs against servers of their own"},
	{"S14", "a cancellation at a chosen moment, and the calls after it", []string{"TestCancelling", "TestAJobThatRunsTooLongIsCanceled"}, ""},
	{"S15", "a first renewal that is held back", []string{"TestNothingRunsBeforeTheFirstRenewal"}, ""},
	{"S16", "job requests in the three forms that autoscalers read", []string{"TestAutoscalersSeeWaitingJobs"}, ""},
}

func TestEveryLineOfTheChecklistIsHeldByATest(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	exists := make(map[string]bool)
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				exists[f.Name.Name] = true
			}
		}
	}
	for _, c := range conformance {
		if len(c.tests) == 0 && c.later == "" {
			t.Errorf("%s (%s) has neither a test nor a reason", c.line, c.asks)
		}
		for _, name := range c.tests {
			if !exists[name] {
				t.Errorf("%s (%s) names the test %s, which does not exist", c.line, c.asks, name)
			}
		}
	}
}
