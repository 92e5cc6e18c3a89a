package agent

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVariablesAreCapabilitiesUnlessTheySeemToHoldASecret(t *testing.T) {
	for _, test := range []struct {
		name     string
		variable string
		offered  bool
	}{
		{"an ordinary one", "ANDROID_HOME=/opt/android", true},
		{"an empty value", "CI=", true},
		{"a value with an equals sign", "OPTS=-a=b", true},
		{"1023 characters", "LONG=" + strings.Repeat("ä", 1023), true},
		{"1024 characters", "LONG=" + strings.Repeat("x", 1024), false},
		{"no name", "=C:=x", false},
		{"a name of blanks", " =x", false},
		{"no equals sign", "ODD", false},
		{"one that the protocol leaves out", "TERM=xterm", false},
		{"another, in capitals", "LS_COLORS=di=34", false},
		{"the token of a job", "SYSTEM_ACCESSTOKEN=x", false},
		{"one that VSO_AGENT_IGNORE names in another case", "Noise=1", false},
		{"the second that it names", "MORE_NOISE=1", false},
		{"the working directory", "PWD=/work", true},
		{"the one before", "OLDPWD=/", true},
		{"the search path", "PATH=/usr/bin", true},
		{"a keyboard", "KEYBOARD_LAYOUT=de", true},
		{"a monkey", "MONKEY=1", true},
		{"a tokenizer", "TOKENIZER_THREADS=4", true},
		{"a passage", "PASSAGE=1", true},
		{"the agent's sign-in", "AZP_AUTH=pat", false},
		{"a word that ends in pass", "SSHPASS=hunter2", false},
		{"a word for authorization", "REDISCLI_AUTH=hunter2", false},
		{"a hook that anybody may call", "SLACK_WEBHOOK_URL=https://hooks.example.com/x", false},
		{"a web token", "SESSION=eyJhbGciOi.eyJzdWIi.sig", false},
		{"a token of GitHub", "GH=ghp_0123456789abcdefghij0123", false},
		{"a header", "EXTRA=Basic aHVudGVyMg==", false},
		{"a number of classes", "CLASSES=12", true},
		{"a token", "GITHUB_TOKEN=x", false},
		{"tokens", "TOKENS=x", false},
		{"a numbered token", "TOKEN_2=x", false},
		{"a number in the word", "TOKEN2=x", false},
		{"a token in small letters", "npm_token=x", false},
		{"a token in a mixed name", "npmAuthToken=x", false},
		{"a token behind dots", "npm.auth.token=x", false},
		{"a secret", "CLIENT_SECRET=x", false},
		{"a password", "DB_PASSWORD=x", false},
		{"a password in one word", "PGPASSWORD=x", false},
		{"a passwd", "ROOT_PASSWD=x", false},
		{"a pass", "SMTP_PASS=x", false},
		{"a passphrase", "GPG_PASSPHRASE=x", false},
		{"a pwd that is no directory", "MYSQL_PWD=x", false},
		{"a key", "AWS_SECRET_ACCESS_KEY=x", false},
		{"keys", "API_KEYS=x", false},
		{"a key in one word", "OPENAI_APIKEY=x", false},
		{"credentials", "GOOGLE_CREDENTIALS=x", false},
		{"credentials with more words", "VSS_NUGET_EXTERNAL_FEED_CREDENTIALS_JSON=x", false},
		{"a connection string", "STORAGE_CONNECTION_STRING=x", false},
		{"a connection string in one word", "ConnectionStrings__Main=x", false},
		{"a shared access signature", "BLOB_SAS=x", false},
		{"a personal access token", "MY_PAT=x", false},
		{"a file of Docker logins", "DOCKER_AUTH_CONFIG={}", false},
		{"a user in a URL", "REMOTE=https://ada@example.com/x", false},
		{"a password in a URL", "DATABASE_URL=postgres://ada:hunter2@db/shop", false},
		{"a URL without a user", "MIRROR=https://example.com/@scope/x", true},
		{"a proxy", "HTTPS_PROXY=http://proxy:3128", true},
		{"a proxy with a password", "http_proxy=ada:hunter2@proxy:3128", false},
		{"an image with its digest", "IMAGE=busybox:1@sha256:0123", true},
		{"a private key", "PEM=-----BEGIN RSA PRIVATE KEY-----", false},
		{"a certificate", "PEM=-----BEGIN CERTIFICATE-----", true},
		{"a password in a connection string", "DSN=Server=db;Password=hunter2", false},
		{"a signed address", "UPLOAD=https://x.blob.core.windows.net/c?sv=1&sig=abc", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			name, value, _ := strings.Cut(test.variable, "=")
			got := environmentCapabilities([]string{"VSO_AGENT_IGNORE=noise, more_noise", test.variable})
			delete(got, "VSO_AGENT_IGNORE")
			want := map[string]string{}
			if test.offered {
				want[name] = value
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("environmentCapabilities(%q) mismatch (-want +got):\n%s", test.variable, diff)
			}
		})
	}
}

func TestANameHasOneSpelling(t *testing.T) {
	o := newOffer()
	o.setAll(map[string]string{"Java": "/old"})
	o.set("java", "/usr/bin/java")
	o.set("JDK", "/x")
	o.remove("jdk")
	if diff := cmp.Diff(map[string]string{"java": "/usr/bin/java"}, o.values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

func TestUserCapabilitiesOfTheSettings(t *testing.T) {
	for _, test := range []struct {
		name     string
		setting  []string
		want     map[string]string
		problems []string
	}{
		{"none", nil, map[string]string{}, nil},
		{"values, blanks and a name alone", []string{" gpu = orin ", "fast", "", "url=a=b"}, map[string]string{"gpu": "orin", "fast": "true", "url": "a=b"}, nil},
		{"an empty value", []string{"x="}, map[string]string{"x": ""}, nil},
		{"no name", []string{"=x"}, nil, []string{"no name"}},
		{"a blank in the name", []string{"a b=x"}, nil, []string{"a blank"}},
		{"what agents find out", []string{"agent.os=Windows", "Dockless.Platform=linux/arm64", "dockless=9"}, nil, []string{`"agent.os"`, `"Dockless.Platform"`, `"dockless"`}},
		{"twice", []string{"a=1", "A=2"}, nil, []string{"twice"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Config{Capabilities: test.setting}.userCapabilities()
			if test.problems == nil {
				if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
					t.Errorf("userCapabilities = %v, %v (-want +got):\n%s", got, err, diff)
				}
				return
			}
			for _, problem := range test.problems {
				if err == nil || !strings.Contains(err.Error(), problem) {
					t.Errorf("userCapabilities: %v, want %q", err, problem)
				}
			}
		})
	}
}

func TestWhatIsOursIsReplacedWholeAndTheRestIsKept(t *testing.T) {
	got := merged(map[string]string{"dockless.gpu": "nvidia.com/gpu", "Dockless.Placeholder": "true", "Tool": "/old", "theirs": "1"},
		map[string]string{"dockless": "2", "tool": "/new"})
	if diff := cmp.Diff([]string{"dockless", "theirs", "tool"}, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}
