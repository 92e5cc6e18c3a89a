package bake

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// extend adds the extension x-bake to a target.
func extend(t *Target, x any) error {
	members, ok := x.(map[string]any)
	if !ok {
		return errors.New("it is no mapping")
	}
	for _, key := range slices.Sorted(maps.Keys(members)) {
		value := members[key]
		if strings.HasPrefix(key, "x-") {
			continue
		}
		if err := extendBy(t, key, value); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

func extendBy(t *Target, key string, value any) error {
	switch key {
	case "pull", "no-cache":
		b, ok := value.(bool)
		if !ok {
			return fmt.Errorf("%v is neither true nor false", value)
		}
		if key == "pull" {
			t.Pull = &b
		} else {
			t.NoCache = &b
		}
		return nil
	case "contexts":
		members, ok := value.(map[string]any)
		if !ok {
			return errors.New("it is no mapping")
		}
		added := make(map[string]string, len(members))
		for name, v := range members {
			added[name] = fmt.Sprint(v)
		}
		t.Contexts = laid(composeContexts(added), t.Contexts) // what compose itself says is stronger
		return nil
	}
	list, err := stringList(value)
	if err != nil {
		return err
	}
	switch key {
	case "tags":
		t.Tags = unique(slices.Concat(t.Tags, list))
	case "platforms":
		t.Platforms = unique(slices.Concat(t.Platforms, list))
	case "no-cache-filter":
		t.NoCacheFilter = unique(slices.Concat(t.NoCacheFilter, list))
	case "cache-from":
		return addAll(&t.CacheFrom, cacheForm, list)
	case "cache-to":
		return addAll(&t.CacheTo, cacheForm, list)
	case "output":
		return addAll(&t.Outputs, outForm, list)
	case "secret":
		return addAll(&t.Secrets, secretForm, list)
	case "ssh":
		for _, s := range list {
			t.SSH = append(t.SSH, parseSSH(s))
		}
	default:
		return hint.With(errors.New("there is no such key"), "x-bake has tags, cache-from, cache-to, secret, ssh, platforms, output, pull, no-cache, no-cache-filter and contexts")
	}
	return nil
}

// stringList reads a list, or its elements in one string with spaces.
func stringList(value any) ([]string, error) {
	switch v := value.(type) {
	case string:
		return strings.Fields(v), nil
	case []any:
		out := make([]string, len(v))
		for i := range v {
			out[i] = fmt.Sprint(v[i])
		}
		return out, nil
	case nil:
		return nil, nil
	}
	return nil, errors.New("it is no list")
}
