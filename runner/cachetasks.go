package runner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/command"
	"github.com/dockless-ci/dockless/runner/internal/jobcache"
)

// cacheTasks are the built-ins that keep folders from one run to the next.
func cacheTasks() map[string]task {
	return map[string]task{
		"d53ccab4-555e-4494-9d06-11db043fb4a9@2": {
			name: "Cache", title: "Cache", description: "Cache files between runs.",
			run: restoreCache, after: saveCache, working: true, onlyHere: true,
		},
	}
}

// restoredKey is the task variable with the key that the main part resolved: that it
// ran, and what it asked for.
const restoredKey = "RESTORE_STEP_RESOLVED_FINGERPRINT"

// cacheStep is one part of Cache@2.
type cacheStep struct {
	*attempt
	spec  jobcache.Spec
	path  string
	cache *jobcache.Cache
	read  []jobcache.Scope
	write jobcache.Scope
}

func (a *attempt) cacheStep() (*cacheStep, error) {
	s := &cacheStep{attempt: a}
	key, path := a.in.text("key", ""), a.in.text("path", "")
	switch {
	case key == "":
		return nil, errors.New("the input key is empty")
	case path == "":
		return nil, errors.New("the input path is empty")
	}
	var err error
	if s.spec, err = jobcache.Parse(key, a.in.text("restoreKeys", ""), a.x.vars.Value("AZP_CACHING_SALT")); err != nil {
		return nil, err
	}
	if s.spec.OldForm {
		a.node.warning("The input key has line breaks. Write it in one line, with | between its segments.")
	}
	if s.path, err = a.x.target("path", a.x.path(path)); err != nil {
		return nil, err
	}
	s.read, s.write = a.x.cacheScopes().Scopes()
	s.cache, err = a.caches()
	return s, err
}

// caches returns where the folders are kept.
func (a *attempt) caches() (*jobcache.Cache, error) {
	size, err := a.x.cfg.cacheSize()
	if err != nil {
		return nil, err
	}
	dir := a.x.cfg.CacheDir
	if dir == "" {
		dir = filepath.Join(a.x.folders.work, "_caches")
	}
	c := &jobcache.Cache{
		Dir: jobcache.Dir{Path: dir, Size: size}, Say: func(line string) { a.node.print(command.Disarm(line)) }, Warn: a.node.warning,
	}
	if a.x.cfg.CacheRepo == "" {
		return c, nil
	}
	auth, err := a.x.credentials(a.x.dockerConfig())
	if err != nil {
		a.node.warning(fmt.Sprintf("The registry of caches is left out: %v", err))
		return c, nil
	}
	c.Registry = &jobcache.Registry{
		Repo: strings.TrimRight(a.x.cfg.CacheRepo, "/") + "/jobs", Auth: auth, Insecure: a.x.docker.insecure,
	}
	return c, nil
}

// cacheScopes says what the job may read and write, in the server's words: a step
// of a fork could change its variables.
func (x *execution) cacheScopes() jobcache.Policy {
	o := x.origin()
	project := strings.ToLower(x.said("system.collectionId")) + "/" + x.said("system.definitionId")
	if self, ok := x.m.Repository("self"); ok {
		project += "/" + self.Text("type") + ":" + self.Text("id")
	}
	return jobcache.Policy{Project: project, Branch: o.branch, Target: o.target, Default: o.standard, Fork: o.fork}
}

// resolve hashes the files that segments name.
func (s *cacheStep) resolve(ctx context.Context, segments []string) (jobcache.Key, error) {
	key, err := jobcache.Resolve(ctx, segments, jobcache.Files{
		Dir: s.x.vars.Value("system.defaultWorkingDirectory"), Workspace: s.x.folders.pipeline, Open: s.x.open, Say: s.cache.Say,
	})
	if err == nil {
		s.cache.Say("Resolved to: " + key.String())
	}
	return key, err
}

// restoreCache is the main part of Cache@2.
func restoreCache(ctx context.Context, a *attempt) error {
	s, err := a.cacheStep()
	if err != nil {
		return err
	}
	defer s.cache.Registry.Close()
	s.cache.Say("Resolving key:")
	key, err := s.resolve(ctx, s.spec.Key)
	if err != nil {
		return err
	}
	var prefixes []jobcache.Key
	for _, segments := range s.spec.Restore {
		s.cache.Say("Resolving restore key:")
		prefix, err := s.resolve(ctx, segments)
		if err != nil {
			return err
		}
		prefixes = append(prefixes, prefix)
	}
	hit, err := s.cache.Restore(ctx, key, prefixes, s.read, s.path)
	if err != nil {
		return err
	}
	a.settings[restoredKey] = key.String()
	found := "false"
	switch {
	case hit.Exact:
		found = "true"
		s.cache.Say("Cache restored to " + s.path + ".")
	case hit.Found:
		found = "inexact"
		s.cache.Say("Cache restored to " + s.path + " from " + hit.Key.String() + ".")
	default:
		s.cache.Say("Cache miss.")
	}
	if name := a.in.text("cacheHitVar", ""); name != "" {
		return builtinStep{a}.SetVariable(name, found)
	}
	return nil
}

// saveCache is the post-job part of Cache@2.
func saveCache(ctx context.Context, a *attempt) error {
	status := job.Result(strings.ToLower(a.x.vars.Value("agent.jobStatus")))
	partly := strings.EqualFold(string(status), string(job.SucceededWithIssues)) && a.in.truth("saveOnPartialSuccess", false)
	if status != job.Succeeded && !partly {
		a.node.print("The cache is not saved, because the job has not succeeded.")
		return nil
	}
	asked, ran := a.settings[restoredKey]
	if !ran {
		a.node.print("The cache is not saved, because its restore step did not run.")
		return nil
	}
	s, err := a.cacheStep()
	if err != nil {
		return err
	}
	defer s.cache.Registry.Close()
	s.cache.Say("Resolving key:")
	key, err := s.resolve(ctx, s.spec.Key)
	if err != nil {
		return err
	}
	if key.String() != asked {
		a.node.warning(fmt.Sprintf("The files of the key have changed since the cache was restored, and it is saved under the new key. It was %s, and is %s.", asked, key))
	}
	return s.cache.Save(ctx, key, s.read, s.write, s.path, s.x.open)
}
