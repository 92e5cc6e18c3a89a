// Package settings knows how the settings of dockless are read: it fills the Config
// structs of the packages below from the environment and from the files of secrets,
// and takes the secrets out of what jobs can see. A struct names its variables in
// tags, from which their page is made, too. A command loads what it needs; [All] has
// the settings of an agent.
package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"

	"github.com/kelseyhightower/envconfig"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/internal/mask"
)

// validator is a Config that can tell what is wrong with it.
type validator interface{ Validate() error }

// unchecked is a Config that is validated later, when the caller has set the
// rest of it.
type unchecked struct{ config any }

// Unchecked has [Load] leave the validation of a Config to the caller,
// who sets the rest of it first.
func Unchecked(config any) any { return unchecked{config} }

// fileSuffix makes the name of the variable that names a secret's file.
const fileSuffix = "_FILE"

// Load fills the Config structs that to points at from the environment.
// A secret X may come from the file that X_FILE names. It reports every problem
// at once, as a usage error.
func Load(to ...any) error {
	var problems []error
	for _, c := range to {
		var skip bool
		if u, ok := c.(unchecked); ok {
			c, skip = u.config, true
		}
		v, checks := c.(validator)
		checks = checks && !skip
		for _, field := range Of(c) {
			if err := loadField(reflect.ValueOf(c).Elem(), field, checks); err != nil {
				problems = append(problems, err)
			}
		}
		if checks {
			if err := v.Validate(); err != nil {
				problems = append(problems, err)
			}
		}
	}
	if err := errors.Join(problems...); err != nil {
		return cmdline.Unusable(err)
	}
	return nil
}

// Of returns the fields of a Config struct that the environment sets.
func Of(config any) []reflect.StructField {
	var fields []reflect.StructField
	for _, field := range reflect.VisibleFields(reflect.TypeOf(config).Elem()) {
		if field.Tag.Get("envconfig") != "" {
			fields = append(fields, field)
		}
	}
	return fields
}

// loadField fills one field of config. A field that cannot be read keeps its
// default, so that Validate has no second complaint about it. With checks,
// Validate is left to say that a required one is missing: it has better hints.
func loadField(config reflect.Value, field reflect.StructField, checks bool) error {
	name := field.Tag.Get("envconfig")
	err := process(config, field)
	var parse *envconfig.ParseError
	switch {
	case err == nil:
	case errors.As(err, &parse):
		// The value is left out: it may be a secret in the wrong variable.
		err = hint.With(fmt.Errorf("%s is no %s", name, TypeName(field)), "%s", formHint(name, TypeName(field)))
		byDefault := field
		byDefault.Tag = reflect.StructTag(fmt.Sprintf(`envconfig:"=" default:%q`, field.Tag.Get("default"))) // no variable is called =
		return errors.Join(err, process(config, byDefault))
	case checks:
	default:
		return hint.With(fmt.Errorf("%s is not set", name), "set %s: %s", name, field.Tag.Get("desc"))
	}
	if field.Type == secretType {
		return loadSecretFile(name, config.FieldByIndex(field.Index))
	}
	return nil
}

// process has envconfig fill one field: given a whole struct, it stops at the
// first problem.
func process(config reflect.Value, field reflect.StructField) error {
	index := field.Index
	field.Index, field.Offset = nil, 0
	one := reflect.New(reflect.StructOf([]reflect.StructField{field}))
	err := envconfig.Process("", one.Interface())
	if err == nil {
		config.FieldByIndex(index).Set(one.Elem().Field(0))
	}
	return err
}

// formHint says how a value of a type is written.
func formHint(name, typeName string) string {
	switch typeName {
	case "duration":
		return fmt.Sprintf("set %s to a duration such as 90s or 1h30m", name)
	case "level":
		return fmt.Sprintf("set %s to debug, info, warn or error", name)
	case "bool":
		return fmt.Sprintf("set %s to true or false", name)
	default:
		return fmt.Sprintf("docs/configuration.md says how %s is written", name)
	}
}

var secretType = reflect.TypeFor[mask.Secret]()

// loadSecretFile fills an empty secret from the file that its _FILE variable names.
func loadSecretFile(name string, secret reflect.Value) error {
	path := os.Getenv(name + fileSuffix)
	if path == "" {
		return nil
	}
	if !secret.Interface().(mask.Secret).IsZero() {
		return hint.With(fmt.Errorf("both %s and %s%s are set", name, name, fileSuffix), "unset one of %s and %s%s", name, name, fileSuffix)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return hint.With(fmt.Errorf("reading the file of %s: %w", name, err), "set %s%s to a file that this user may read", name, fileSuffix)
	}
	value := strings.TrimRight(string(content), "\r\n")
	if value == "" {
		return hint.With(fmt.Errorf("the file of %s is empty", name), "write the value of %s to %s", name, path)
	}
	secret.Set(reflect.ValueOf(mask.NewSecret(value)))
	return nil
}

// SecretNames lists the variables of the Config structs that hold secrets or
// name a secret's file.
func SecretNames(configs ...any) []string {
	var names []string
	for _, c := range configs {
		for _, field := range Of(c) {
			if name := field.Tag.Get("envconfig"); field.Type == secretType {
				names = append(names, name, name+fileSuffix)
			}
		}
	}
	return names
}

// SecretValues are the values of the secrets of a Config struct.
func SecretValues(config any) []string {
	var values []string
	for _, field := range Of(config) {
		if field.Type == secretType {
			values = append(values, reflect.ValueOf(config).Elem().FieldByIndex(field.Index).Interface().(mask.Secret).Reveal())
		}
	}
	return values
}

// Hide takes the named variables out of this process: out of the
// environment that children inherit, and out of /proc/self/environ, where a job
// that runs as the same user could read them.
func Hide(names []string) error {
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

// Quieter keeps the log of short commands to warnings, unless LOG_LEVEL says
// otherwise: what they did is their output.
func Quieter(c logging.Config) logging.Config {
	if os.Getenv("LOG_LEVEL") == "" {
		c.Level = slog.LevelWarn
	}
	return c
}

// TypeName is what the type of a setting is called.
func TypeName(f reflect.StructField) string {
	if f.Type == secretType {
		return "secret"
	}
	switch name := f.Type.String(); name {
	case "time.Duration", "*time.Duration", "agent.Period":
		return "duration"
	case "slog.Level":
		return "level"
	case "[]string":
		return "list"
	default:
		return name
	}
}
