package runner

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

// conformance names, for each statement of the protocol's checklist (§13) that
// is about running a job, the tests that hold it. The name of the main one
// begins with the statement's. A statement that another package keeps says so;
// those about downloaded tasks are held where agent, runner and server meet, in
// cmd/dockless.
var conformance = map[string][]string{
	"A17 records with stable ids":              {"TestA17RecordsHaveTheIDsOfTheMessage", "TestAJobReportsItsRecordsInOrder"},
	"A18 all steps pending before the first":   {"TestA18AllStepsArePendingBeforeTheFirstRuns"},
	"A19 feed":                                 nil, // internal/ado
	"A20 log pages":                            nil, // internal/ado; what is in them: TestTheLogOfAStepLooksAsUsersKnowIt
	"A21 ten issues of each kind":              {"TestA21IssuesAreCappedButCounted", "TestIssuesPointAtTheLineThatTheServiceShows"},
	"A22 outputs on the record":                {"TestA22VariablesOfAStepReachLaterSteps"},
	"A23 completion":                           nil, // internal/ado and agent
	"A24 agentShuttingDown":                    nil, // internal/ado and agent
	"A25 masks":                                {"TestA25NoSecretReachesAnyOutput", "TestASecretWithLineBreaksIsMaskedInDebugLines", "TestParametersOfEndpointsAreMaskedButForSome", "TestAttachmentsShowNoSecret"},
	"A26 commands":                             {"TestA26EveryCommandOfTheServiceIsKnown", "TestA29ConditionsAndResults", "TestRestrictedStepsMayDoLess", "TestPercentsAreDecodedUnlessSomebodySaysNo", "TestFilesBecomeAttachments"},
	"A27 environment":                          {"TestA27ADownloadedTaskIsGivenTheWholeEnvironment", "TestStepsKnowWhereTheyAre", "TestVariablesWinOverTheEnvironmentOfAStep", "TestGotchas"},
	"A28 exit codes, and task.complete":        {"TestA28ClaimedResultsAreMerged", "TestScriptsThatCannotRun"},
	"A29 continueOnError":                      {"TestA29ConditionsAndResults"},
	"A30 conditions on cancel":                 {"TestAJobThatIsStopped", "TestA30AStepWhoseConditionStillHoldsGoesOnWhenTheJobIsCanceled"},
	"A31 ladder and timeouts":                  {"TestA31AProcessThatIgnoresSignalsIsKilled", "TestAStepThatTakesTooLongFails", "TestTheGraceOfACanceledJobEndsEverything", "TestRetriesWaitLongerEachTime"},
	"A32 skipped steps":                        {"TestA32ASkippedStepSaysWhy", "TestA29ConditionsAndResults"},
	"A36 lost outputs":                         nil, // internal/ado
	"A37 task downloads":                       {"TestA37EachVersionOfATaskIsDownloadedOncePerJob", "TestA37APackageThatCannotBeUsedFailsTheJobBeforeAnyStep", "TestAnUnknownTaskFailsTheJobBeforeAnyStep"},
	"A38 directory and credentials of sources": {"TestA38ACheckoutPutsTheSourcesIntoTheirDirectory", "TestSeveralCheckoutsLieSideBySide", "TestCredentialsReachTheServerAndNothingElse"},
}

func TestEveryStatementOfTheChecklistHasItsTests(t *testing.T) {
	var all strings.Builder
	for _, folder := range []string{".", "../cmd/dockless"} {
		files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	for statement, tests := range conformance {
		for _, name := range tests {
			if !regexp.MustCompile(`(?m)^func ` + name + `\(t `).MatchString(all.String()) {
				t.Errorf("%s is held by %s, which does not exist", statement, name)
			}
		}
		id, _, _ := strings.Cut(statement, " ")
		main := regexp.MustCompile(`^Test` + id + `\D`)
		if tests != nil && !slices.ContainsFunc(tests, main.MatchString) {
			t.Errorf("%s has no test whose name begins with Test%s", statement, id)
		}
	}
}

// Protocol §8.10. R marks what a restricted step may do.
func TestA26EveryCommandOfTheServiceIsKnown(t *testing.T) {
	const table = `task.setvariable R, task.setsecret R, task.settaskvariable R, task.prependpath R, task.logissue R, task.issue R,
		task.complete R, task.setprogress R, task.logdetail R, task.debug R, task.setendpoint, task.addattachment,
		task.uploadsummary, task.uploadfile, artifact.associate, artifact.upload, build.uploadlog, build.uploadsummary,
		build.updatebuildnumber, build.addbuildtag, release.updatereleasename, results.publish,
		results.publishtoevidencestore, codecoverage.publish, telemetry.publish R, plugininternal.updaterepositorypath`
	var want, wantRestricted, got []string
	for entry := range strings.SplitSeq(table, ",") {
		name, r, _ := strings.Cut(strings.TrimSpace(entry), " ")
		want = append(want, name)
		if r == "R" {
			wantRestricted = append(wantRestricted, name)
		}
	}
	for area, events := range allCommands {
		for event := range events {
			got = append(got, area+"."+event)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	allowed := slices.Sorted(slices.Values(restricted))
	if diff := cmp.Diff(slices.Sorted(slices.Values(wantRestricted)), allowed); diff != "" {
		t.Errorf("commands of restricted steps (-want +got):\n%s", diff)
	}
}

// Protocol §8.11.
func TestParametersOfEndpointsAreMaskedButForSome(t *testing.T) {
	shown := strings.Fields(`Role Scope TenantId IssuedAt ExpiresAt Audience AuthenticationType AuthorizationType AccessTokenType
		AccessTokenFetchingMethod UseWindowsSecurity Unsecured OAuthAccessTokenIsSupplied CompleteCallbackPayload
		AcceptUntrustedCertificates`)
	masked := strings.Fields(`AccessToken ApiToken Username Password ServicePrincipalId ServicePrincipalKey Certificate Registry whatever`)
	parameters := make(map[string]string)
	for i, name := range slices.Concat(shown, masked) {
		if i%2 == 0 {
			name = strings.ToUpper(name) // names ignore case
		}
		parameters[name] = "<" + strings.ToLower(name) + ">"
	}
	x := &execution{masks: mask.NewSet(), m: &job.Message{}}
	x.m.Resources.Endpoints = []job.Endpoint{{ID: "e", Authorization: job.Authorization{Scheme: "Token", Parameters: maps.Clone(parameters)}}}
	x.registerSecrets()
	for _, value := range parameters {
		name := strings.Trim(value, "<>")
		want := value
		if slices.ContainsFunc(masked, func(m string) bool { return strings.EqualFold(m, name) }) {
			want = "***"
		}
		if got := x.masks.Mask(value); got != want {
			t.Errorf("parameter %s is shown as %q, want %q", name, got, want)
		}
	}
}
