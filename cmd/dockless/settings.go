package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/kelseyhightower/envconfig"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// validator is a Config that can tell what is wrong with it.
type validator interface{ Validate() error }

// unchecked is a Config that is validated later, when the caller has set the
// rest of it.
type unchecked struct{ config any }

// loadSettings fills the Config structs that to points at from the environment.
// A secret X may come from the file that X_FILE names. It reports every problem
// at once, as a usage error.
func loadSettings(to ...any) error {
	var problems []error
	for _, c := range to {
		var skip bool
		if u, ok := c.(unchecked); ok {
			c, skip = u.config, true
		}
		if err := envconfig.Process("", c); err != nil {
			problems = append(problems, settingProblem(err))
			continue
		}
		if err := loadSecretFiles(reflect.ValueOf(c).Elem()); err != nil {
			problems = append(problems, err)
			continue
		}
		if v, ok := c.(validator); ok && !skip {
			if err := v.Validate(); err != nil {
				problems = append(problems, err)
			}
		}
	}
	if err := errors.Join(problems...); err != nil {
		return usageError{err}
	}
	return nil
}

// settingProblem turns envconfig's errors into ours: the value is left out,
// because it may be a secret in the wrong variable.
func settingProblem(err error) error {
	var parse *envconfig.ParseError
	if errors.As(err, &parse) {
		return hint.With(fmt.Errorf("setting %s cannot be read as %s", parse.KeyName, parse.TypeName),
			"see docs/configuration.md for the form of %s", parse.KeyName)
	}
	return err
}

var secretType = reflect.TypeFor[mask.Secret]()

// loadSecretFiles fills empty secrets from the files that their _FILE variables name.
func loadSecretFiles(config reflect.Value) error {
	for _, field := range reflect.VisibleFields(config.Type()) {
		name := field.Tag.Get("envconfig")
		if field.Type != secretType || name == "" {
			continue
		}
		path := os.Getenv(name + "_FILE")
		value := config.FieldByIndex(field.Index)
		if path == "" {
			continue
		}
		if !value.Interface().(mask.Secret).IsZero() {
			return fmt.Errorf("both %s and %s_FILE are set", name, name)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return hint.With(fmt.Errorf("reading the file of %s: %w", name, err), "set %s_FILE to a file that this user may read", name)
		}
		value.Set(reflect.ValueOf(mask.NewSecret(strings.TrimRight(string(content), "\r\n"))))
	}
	return nil
}

// secretNames lists the variables of the Config structs that hold secrets.
func secretNames(configs ...any) []string {
	var names []string
	for _, c := range configs {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(c).Elem()) {
			if field.Type == secretType && field.Tag.Get("envconfig") != "" {
				names = append(names, field.Tag.Get("envconfig"))
			}
		}
	}
	return names
}

// hideSecrets takes the named variables out of this process: out of the
// environment that children inherit, and out of /proc/self/environ, where a job
// that runs as the same user could read them.
func hideSecrets(names []string) error {
	if err := scrubProcEnviron(names); err != nil {
		return fmt.Errorf("hiding secrets from /proc: %w", err)
	}
	for _, name := range names {
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("hiding %s: %w", name, err)
		}
	}
	return nil
}
