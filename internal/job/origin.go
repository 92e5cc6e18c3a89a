package job

import (
	"net/url"
	"strings"
)

// Origin is where a job comes from, as attestations of what it builds tell it.
type Origin struct {
	Run      string // URL of the job in its run; empty where the variables do not tell
	Number   string // of the run
	Name     string // of the job
	Source   string // URL of the repository, without credentials
	Revision string // commit that is built; the merge commit of a pull request
}

// OriginOf reads the origin out of the variables of a job.
func OriginOf(variable func(name string) string) Origin {
	o := Origin{
		Number: variable("build.buildNumber"), Name: variable("system.jobDisplayName"),
		Source: WithoutCredentials(variable("build.repository.uri")), Revision: variable("build.sourceVersion"),
	}
	collection := variable("system.collectionUri")
	if collection == "" {
		collection = variable("system.teamFoundationCollectionUri")
	}
	project, id := variable("system.teamProject"), variable("build.buildId")
	if collection != "" && project != "" && id != "" {
		o.Run = strings.TrimRight(collection, "/") + "/" + url.PathEscape(project) + "/_build/results?buildId=" + url.QueryEscape(id)
		if job := variable("system.jobId"); job != "" {
			o.Run += "&view=logs&j=" + url.QueryEscape(job)
		}
	}
	return o
}

// WithoutCredentials returns the address of a repository without user and
// password; what is no address stays as it is.
func WithoutCredentials(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		if scheme, rest, ok := strings.Cut(address, "://"); ok { // not even a part of it may leak
			_, host, _ := strings.Cut(rest, "@")
			return scheme + "://" + host
		}
		return address
	}
	if u.User == nil {
		return address
	}
	u.User = nil
	return u.String()
}
