package emulator_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// conformance is the emulator's half of the checklist of §13: what each line asks for
// and the tests that hold it, whose names begin with the line's.
var conformance = []struct {
	line, asks string
	tests      []string
}{
	{"S1", "locations of every resource by OPTIONS", []string{"TestS1LocationsAreAnnouncedAsInAppendixA"}},
	{"S2", "connectionData with Basic and with Bearer", []string{"TestS2OnlyAValidCredentialConnects"}},
	{"S3", "a token for a valid assertion, a refusal for every other", []string{"TestS3AnAssertionIsVerified"}},
	{"S4", "one live session per agent", []string{"TestS4AnAgentHasOneSession", "TestS4SessionsExpireOnDemand"}},
	{"S5", "encrypted messages, and a plain mode", []string{"TestS5MessagesAreEncryptedUnlessTheServerIsPlain"}},
	{"S6", "messages in order, kept until deleted", []string{"TestS6AMessageStaysUntilItIsDeleted", "TestS6TwoHeldPollsGetTheSameMessage", "TestS6WrongDeletionsAreRefused"}},
	{"S7", "a held poll, then an empty answer", []string{"TestS7AnEmptyPollIsHeldAndThenAnswered"}},
	{"S8", "renewals with the zero lock token, and locks that are lost", []string{"TestS8ARenewalMovesTheLock", "TestS8WrongRenewalsAreRefused", "TestS8TheLockCanBeLostOnDemand"}},
	{"S9", "records merged field by field", []string{"TestS9RecordsMergeFieldByField"}},
	{"S10", "feed and logs apart, with line counts", []string{"TestS10LogsAreStoredByPage", "TestS10WrongFeedBatchesAreViolations"}},
	{"S11", "task zips, and a task that prints its environment", []string{"TestS11TasksAreHandedOut"}},
	{"S12", "one completion per job, then 404", []string{"TestS12AJobCompletesOnce"}},
	{"S13", "faults on demand", []string{"TestS13FaultsCanBeInjected", "TestS13AnyMessageCanBeSent"}},
	{"S14", "a cancellation at a chosen moment, and the calls after it", []string{"TestS14AJobIsCanceledByAMessage", "TestS14AJobThatRunsTooLongIsCanceled"}},
	{"S15", "a first renewal that is held back", []string{"TestS15NothingRunsBeforeTheFirstRenewal"}},
	{"S16", "job requests in the three forms that autoscalers read", []string{"TestS16AutoscalersSeeWaitingJobs"}},
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
		if len(c.tests) == 0 {
			t.Errorf("%s (%s) has no test", c.line, c.asks)
		}
		for _, name := range c.tests {
			// A letter after the line's name, or S1 would take the tests of S10.
			if rest, ok := strings.CutPrefix(name, "Test"+c.line); !ok || rest == "" || !unicode.IsUpper(rune(rest[0])) {
				t.Errorf("%s (%s) names the test %s, want a name that begins with Test%s", c.line, c.asks, name, c.line)
			}
			if !exists[name] {
				t.Errorf("%s (%s) names the test %s, which does not exist", c.line, c.asks, name)
			}
		}
	}
}
