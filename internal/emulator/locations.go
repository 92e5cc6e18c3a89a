package emulator

import (
	"net/http"
	"net/url"
	"strings"
)

// endpoint answers one method of a location for the callers it is open to. Its
// value is sent as JSON; a nil value is an empty answer.
type endpoint struct {
	open  callerKind
	serve func(*Server, *call) (any, error)
}

// location is a resource as OPTIONS publishes it (§1.3). The same table finds
// the endpoint of a call, so what is announced is what is answered.
type location struct {
	id       string
	area     string
	resource string
	route    string // exactly as Appendix A spells it
	methods  map[string]endpoint
	segments []string
}

// call is one request on its way to an endpoint.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	where  *location
	vars   map[string]string
	who    caller
	job    *request // the job the call is counted for, when the endpoint found one
	note   string   // what the call said, for the list of calls
	faults []string // kinds of the faults that hit the call
}

// v returns the value of a route placeholder, "" when it was dropped.
func (c *call) v(name string) string { return c.vars[name] }

// q returns a query parameter by name, ignoring case as the service does.
func (c *call) q(name string) string {
	query := c.r.URL.Query()
	if query.Has(name) {
		return query.Get(name)
	}
	for k, values := range query {
		if strings.EqualFold(k, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

const planRoute = "{scopeIdentifier}/_apis/distributedtask/hubs/{hubName}/plans/{planId}"

// locations lists every location this server implements, with the ids and
// routes of Appendix A. Optional ones it does not know (customer intelligence,
// feature flags, packages) are left out or answer 404 as §7.13 allows.
func locations() []location {
	const task = "distributedtask"
	all := []location{
		{id: "a8c47e17-4d56-4a56-92bb-de7ea7dc65be", area: task, resource: "pools", route: "_apis/distributedtask/pools/{poolId}", methods: map[string]endpoint{
			"GET":   {byAdmin | byAgent, (*Server).getPools},
			"PATCH": {byAdmin, (*Server).updatePool},
		}},
		{id: "e298ef32-5878-4cab-993c-043836571f42", area: task, resource: "agents", route: "_apis/distributedtask/pools/{poolId}/agents/{agentId}", methods: map[string]endpoint{
			"GET":    {byAdmin | byAgent, (*Server).getAgents},
			"POST":   {byAdmin, (*Server).addAgent},
			"PUT":    {byAdmin, (*Server).replaceAgent},
			"PATCH":  {byAdmin, (*Server).updateAgent},
			"DELETE": {byAdmin, (*Server).deleteAgent},
		}},
		{id: "134e239e-2df3-4794-a6f6-24f1f19ec8dc", area: task, resource: "sessions", route: "_apis/distributedtask/pools/{poolId}/sessions/{sessionId}", methods: map[string]endpoint{
			"POST":   {byAgent, (*Server).createSession},
			"DELETE": {byAgent, (*Server).deleteSession},
		}},
		{id: "c3a054f6-7a8a-49c0-944e-3a8e5d7adfd7", area: task, resource: "messages", route: "_apis/distributedtask/pools/{poolId}/messages/{messageId}", methods: map[string]endpoint{
			"GET":    {byAgent, (*Server).getMessage},
			"DELETE": {byAgent, (*Server).deleteMessage},
			"POST":   {byAdmin, (*Server).sendMessage},
		}},
		{id: "fc825784-c92a-4299-9221-998a02d1b54f", area: task, resource: "jobrequests", route: "_apis/distributedtask/pools/{poolId}/jobrequests/{requestId}", methods: map[string]endpoint{
			"GET":   {byAdmin | byAgent, (*Server).getRequests},
			"PATCH": {byAgent, (*Server).updateRequest},
		}},
		{id: "8cc1b02b-ae49-4516-b5ad-4f9b29967c30", area: task, resource: "updates", route: "_apis/distributedtask/pools/{poolId}/agents/{agentId}/updates", methods: map[string]endpoint{
			"PUT": {byAgent, (*Server).agentUpdate},
		}},
		{id: "30ba3ada-fedf-4da8-bbb5-dacf2f82e176", area: task, resource: "usercapabilities", route: "_apis/distributedtask/pools/{poolId}/agents/{agentId}/usercapabilities", methods: map[string]endpoint{
			"PUT": {byAdmin, (*Server).setUserCapabilities},
		}},
		{id: "8ffcd551-079c-493a-9c02-54346299d144", area: task, resource: "packages", route: "_apis/distributedtask/packages/{packageType}/{platform}/{version}", methods: map[string]endpoint{
			"GET": {byAdmin | byAgent, (*Server).getPackage},
		}},
		{id: "60aac929-f0cd-4bc8-9ce4-6b30e8f1b1bd", area: task, resource: "tasks", route: "_apis/distributedtask/tasks/{taskId}/{versionString}", methods: map[string]endpoint{
			"GET": {byAdmin | byJob, (*Server).getTask},
		}},
		{id: "5cecd946-d704-471e-a45f-3b4064fcfaba", area: task, resource: "plans", route: planRoute, methods: map[string]endpoint{
			"GET": {byAdmin | byJob, (*Server).getPlan},
		}},
		{id: "557624af-b29e-4c20-8ab0-0399d2204f3f", area: task, resource: "events", route: planRoute + "/events", methods: map[string]endpoint{
			"POST": {byJob, (*Server).postEvent},
		}},
		{id: "46f5667d-263a-4684-91b1-dff7fdcf64e2", area: task, resource: "logs", route: planRoute + "/logs/{logId}", methods: map[string]endpoint{
			"GET":  {byAdmin | byJob, (*Server).getLogs},
			"POST": {byJob, (*Server).postLog},
		}},
		{id: "83597576-cc2c-453c-bea6-2882ae6a1653", area: task, resource: "timelines", route: planRoute + "/timelines/{timelineId}", methods: map[string]endpoint{
			"GET":  {byAdmin | byJob, (*Server).getTimelines},
			"POST": {byJob, (*Server).createTimeline},
		}},
		{id: "8893bc5b-35b2-4be7-83cb-99e683551db4", area: task, resource: "records", route: planRoute + "/timelines/{timelineId}/records", methods: map[string]endpoint{
			"GET":   {byAdmin | byJob, (*Server).getRecords},
			"PATCH": {byJob, (*Server).updateRecords},
		}},
		{id: "858983e4-19bd-4c5e-864c-507b59b58b12", area: task, resource: "feed", route: planRoute + "/timelines/{timelineId}/records/{recordId}/feed", methods: map[string]endpoint{
			"POST": {byJob, (*Server).postFeed},
		}},
		{id: "7898f959-9cdf-4096-b29e-7f293031629e", area: task, resource: "attachments", route: planRoute + "/timelines/{timelineId}/records/{recordId}/attachments/{type}/{name}", methods: map[string]endpoint{
			"GET": {byAdmin | byJob, (*Server).getAttachments},
			"PUT": {byJob, (*Server).putAttachment},
		}},
		{id: "eb55e5d6-2f30-4295-b5ed-38da50b1fc52", area: task, resource: "attachments", route: planRoute + "/attachments/{type}", methods: map[string]endpoint{
			"GET": {byAdmin | byJob, (*Server).getAttachments},
		}},
		{id: "00d9565f-ed9c-4a06-9a50-00e7896ccab4", area: "Location", resource: "connectionData", route: "_apis/connectionData", methods: map[string]endpoint{
			"GET": {byAdmin | byAgent | byJob, (*Server).getConnectionData},
		}},
		{id: "e81700f7-3be2-46de-8624-2eb35882fcaa", area: "Location", resource: "resourceAreas", route: "_apis/resourceAreas/{areaId}", methods: map[string]endpoint{
			"GET": {byAdmin | byAgent | byJob, (*Server).getResourceAreas},
		}},
		{id: "1db06c96-014e-44e1-ac91-90b2d4b3e984", area: "build", resource: "artifacts", route: "{project}/_apis/build/builds/{buildId}/artifacts/{artifactName}", methods: map[string]endpoint{
			"GET":  {byAdmin | byJob, (*Server).getArtifacts},
			"POST": {byJob, (*Server).addArtifact},
		}},
		{id: "0cd358e1-9217-4d94-8269-1c1ee6f93dcf", area: "build", resource: "builds", route: "{project}/_apis/build/builds/{buildId}", methods: map[string]endpoint{
			"GET":   {byAdmin | byJob, (*Server).getBuild},
			"PATCH": {byJob, (*Server).updateBuild},
		}},
		{id: "6e6114b2-8161-44c8-8f6c-c5505782427f", area: "build", resource: "tags", route: "{project}/_apis/build/builds/{buildId}/tags/{*tag}", methods: map[string]endpoint{
			"GET":  {byAdmin | byJob, (*Server).getTags},
			"POST": {byJob, (*Server).addTags},
			"PUT":  {byJob, (*Server).addTags},
		}},
		{id: "a166fde7-27ad-408e-ba75-703c2cc9d500", area: "Release", resource: "releases", route: "{project}/_apis/Release/releases/{releaseId}", methods: map[string]endpoint{
			"PATCH": {byJob, (*Server).updateRelease},
		}},
		{id: "e4f5c81e-e250-447b-9fef-bd48471bea5e", area: "Container", resource: "Containers", route: "_apis/resources/Containers/{containerId}/{*itemPath}", methods: map[string]endpoint{
			"GET": {byAdmin | byJob, (*Server).getContainer},
			"PUT": {byJob, (*Server).putItem},
		}},
	}
	all = append(all, testLocations()...)
	for i := range all {
		all[i].segments = strings.Split(all[i].route, "/")
	}
	return all
}

// find returns the location of a path and the values of its placeholders.
func find(table []location, path string) (*location, map[string]string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, part := range parts {
		text, err := url.PathUnescape(part)
		if err != nil {
			return nil, nil
		}
		parts[i] = text
	}
	for i := range table {
		if vars, ok := match(table[i].segments, parts); ok {
			return &table[i], vars
		}
	}
	return nil, nil
}

// match compares a route with a path: literals ignore case, a placeholder takes
// one segment, a catch-all the rest, and trailing placeholders may be missing
// because a client drops those without a value (§1.3).
func match(route, parts []string) (map[string]string, bool) {
	vars := make(map[string]string, 6)
	for i, segment := range route {
		name, placeholder := strings.CutPrefix(segment, "{")
		name = strings.TrimSuffix(name, "}")
		rest, catchAll := strings.CutPrefix(name, "*")
		switch {
		case i >= len(parts) && !placeholder:
			return nil, false
		case i >= len(parts):
			continue
		case catchAll:
			vars[rest] = strings.Join(parts[i:], "/")
			return vars, true
		case placeholder:
			if i == 0 && strings.HasPrefix(parts[i], "_") {
				return nil, false // "_apis" is no project
			}
			vars[name] = parts[i]
		case !strings.EqualFold(segment, parts[i]):
			return nil, false
		}
	}
	return vars, len(parts) <= len(route)
}

// published is a location as OPTIONS shows it.
type published struct {
	ID              string `json:"id"`
	Area            string `json:"area"`
	ResourceName    string `json:"resourceName"`
	RouteTemplate   string `json:"routeTemplate"`
	ResourceVersion int    `json:"resourceVersion"`
	MinVersion      string `json:"minVersion"`
	MaxVersion      string `json:"maxVersion"`
	ReleasedVersion string `json:"releasedVersion"`
}

// publish answers OPTIONS _apis.
func publish(table []location) list[published] {
	var out []published
	for _, l := range table {
		out = append(out, published{
			ID: l.id, Area: l.area, ResourceName: l.resource, RouteTemplate: l.route,
			ResourceVersion: 1, MinVersion: "1.0", MaxVersion: "7.2", ReleasedVersion: "0.0",
		})
	}
	return listOf(out)
}
