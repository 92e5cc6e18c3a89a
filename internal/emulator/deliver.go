package emulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// give sends the job to the agent.
func (s *Server) give(q *request, a *agent) error {
	now := s.now()
	q.lockedUntil = now.Add(s.cfg.LockDuration)
	body, err := s.compose(q, a.session.base)
	if err != nil {
		s.log.Error("job message cannot be made", "job_id", string(q.job), "err", err)
		return err
	}
	q.state, q.agent, q.agentName, q.assigned = Assigned, a, a.wire.Name, now
	a.request = q
	s.send(a, messageJob, body, q)
	q.notify()
	return nil
}

// jobTokenLife covers any job; the agent never renews the token (§6.6).
const jobTokenLife = 48 * time.Hour

// compose completes the message with what only the server knows (§6).
func (s *Server) compose(q *request, address string) (string, error) {
	token, err := s.issue(caller{kind: byJob, job: q.job, plan: q.plan.id}, jobTokenLife)
	if err != nil {
		return "", fmt.Errorf("signing a job token: %w", err)
	}
	doc, url := q.doc, address+"/"
	doc["messageType"] = messageJob
	doc["requestId"] = q.id
	doc["lockedUntil"] = job.At(s.shown(q.lockedUntil))
	p := object(doc, "plan")
	p["scopeIdentifier"], p["planType"], p["version"] = q.plan.scope, q.plan.hub, q.plan.version

	resources := object(doc, "resources")
	endpoints, _ := resources["endpoints"].([]any)
	endpoints = slices.DeleteFunc(endpoints, func(e any) bool {
		m, _ := e.(map[string]any)
		name, _ := m["name"].(string)
		return strings.EqualFold(name, job.SystemConnection)
	})
	resources["endpoints"] = append([]any{map[string]any{
		"name": job.SystemConnection, "url": url, "isShared": false, "isReady": true,
		"authorization": map[string]any{"scheme": "OAuth", "parameters": map[string]any{"AccessToken": token}},
		"data":          map[string]any{"ServerId": s.instance, "ServerName": "emulator"},
	}}, endpoints...)

	masks, _ := doc["mask"].([]any)
	doc["mask"] = append(slices.DeleteFunc(masks, isOurs), map[string]any{"type": "regex", "value": regexp.QuoteMeta(token)})
	s.setVariables(q, object(doc, "variables"), url, token)
	body, err := json.Marshal(doc)
	if err != nil {
		return "", fmt.Errorf("writing the job message: %w", err)
	}
	return string(body), nil
}

// isOurs reports whether a mask hint is the token of an earlier delivery. Hints
// of the message itself are of another type: json decodes them as map[string]any
// too, so the value tells them apart by the header every token of ours has.
func isOurs(hint any) bool {
	m, _ := hint.(map[string]any)
	value, _ := m["value"].(string)
	return strings.HasPrefix(value, "eyJhbGciOiJIUzI1NiIs")
}

// setVariables sets the addresses and tokens of this server, and whatever else
// a server says that the message does not (§6.6).
func (s *Server) setVariables(q *request, variables map[string]any, url, token string) {
	names := make(map[string]string, len(variables))
	for name := range variables {
		names[strings.ToLower(name)] = name
	}
	set := func(name, value string, secret, always bool) {
		known, ok := names[strings.ToLower(name)]
		if ok && !always {
			return
		}
		v := map[string]any{"value": value, "isReadOnly": true}
		if secret {
			v = map[string]any{"value": value, "isSecret": true}
		}
		variables[cmp.Or(known, name)] = v
		if !secret {
			q.plain[cmp.Or(known, name)] = value
		}
	}
	for _, name := range []string{"system.collectionUri", "system.teamFoundationCollectionUri", "system.taskDefinitionsUri"} {
		set(name, url, false, true)
	}
	set("system.accessToken", token, true, true)
	set("build.containerId", strconv.Itoa(q.run.containerID()), false, true)
	set("system.collectionId", s.instance, false, true)
	for name, value := range map[string]string{
		"system": strings.ToLower(q.plan.hub), "system.hosttype": strings.ToLower(q.plan.hub), "system.servertype": "Hosted", "system.culture": "en-US",
		"system.enableAccessToken": "SecretVariable", "system.teamProjectId": q.plan.scope,
		"system.teamProject": "emulator", "system.planId": string(q.plan.id), "system.timelineId": string(q.plan.timeline),
		"system.jobId": string(q.job), "system.jobName": q.name, "system.jobDisplayName": q.title,
		"system.definitionId": strconv.Itoa(q.run.definition), "system.definitionName": q.run.name, "build.definitionName": q.run.name,
		"build.buildId": strconv.Itoa(q.run.id), "build.buildNumber": q.run.number, "build.reason": "Manual",
		"build.buildUri": "vstfs:///Build/Build/" + strconv.Itoa(q.run.id),
	} {
		set(name, value, false, false)
	}
}

// object returns the object under name, made when it is missing or null.
func object(doc map[string]any, name string) map[string]any {
	m, ok := doc[name].(map[string]any)
	if !ok {
		m = make(map[string]any)
		doc[name] = m
	}
	return m
}
