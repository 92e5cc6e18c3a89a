package podmanrun

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	"github.com/google/shlex"
)

// option is one option of "docker create".
type option struct {
	flag  bool // takes no value unless written with =
	apply func(s *types.ServiceConfig, value string) error
	// ignored, when set, is why the option changes nothing.
	ignored string
}

// applyOptions parses options and applies them to s. It returns what was ignored.
func applyOptions(s *types.ServiceConfig, options string) (warnings []string, err error) {
	words, err := shlex.Split(options)
	if err != nil {
		return nil, fmt.Errorf("options %q: %w", options, err)
	}
	known := knownOptions()
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		name, value, hasValue, err := cutOption(word)
		if err != nil {
			return nil, err
		}
		o, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("option %s is not supported", name)
		}
		if o.flag && hasValue && word[1] != '-' && word[2] != '=' { // several flags in one word
			words = append([]string{"-" + word[2:]}, words...)
			hasValue = false
		}
		if !hasValue && o.flag {
			value, hasValue = "true", true
		}
		if !hasValue {
			if len(words) == 0 {
				return nil, fmt.Errorf("option %s needs a value", name)
			}
			value, words = words[0], words[1:]
		}
		if o.ignored != "" {
			warnings = append(warnings, "option "+name+" is ignored: "+o.ignored)
			continue
		}
		if err := o.apply(s, value); err != nil {
			return nil, fmt.Errorf("option %s: %w", name, err)
		}
	}
	return warnings, nil
}

// cutOption splits --name=value, -nvalue and -n=value.
func cutOption(word string) (name, value string, hasValue bool, err error) {
	switch {
	case strings.HasPrefix(word, "--") && len(word) > 2:
		name, value, hasValue = strings.Cut(word, "=")
	case strings.HasPrefix(word, "-") && len(word) > 1 && word[1] != '-':
		name, value = word[:2], strings.TrimPrefix(word[2:], "=")
		hasValue = len(word) > 2
	default:
		err = fmt.Errorf("%q is no option", word)
	}
	return name, value, hasValue, err
}

// knownOptions is every option that is honoured, or known to change nothing.
func knownOptions() map[string]option {
	options := healthOptions()
	maps.Copy(options, map[string]option{
		"--env":           {apply: addEnv},
		"--publish":       {apply: publish},
		"--volume":        {apply: attach},
		"--user":          text(func(s *types.ServiceConfig) *string { return &s.User }),
		"--workdir":       text(func(s *types.ServiceConfig) *string { return &s.WorkingDir }),
		"--hostname":      text(func(s *types.ServiceConfig) *string { return &s.Hostname }),
		"--name":          text(func(s *types.ServiceConfig) *string { return &s.ContainerName }),
		"--platform":      text(func(s *types.ServiceConfig) *string { return &s.Platform }),
		"--stop-signal":   text(func(s *types.ServiceConfig) *string { return &s.StopSignal }),
		"--entrypoint":    {apply: func(s *types.ServiceConfig, v string) error { s.Entrypoint = types.ShellCommand{v}; return nil }},
		"--privileged":    boolean(func(s *types.ServiceConfig) *bool { return &s.Privileged }),
		"--read-only":     boolean(func(s *types.ServiceConfig) *bool { return &s.ReadOnly }),
		"--tty":           boolean(func(s *types.ServiceConfig) *bool { return &s.Tty }),
		"--interactive":   boolean(func(s *types.ServiceConfig) *bool { return &s.StdinOpen }),
		"--init":          {flag: true, apply: setInit},
		"--cap-add":       list(func(s *types.ServiceConfig) *[]string { return &s.CapAdd }),
		"--cap-drop":      list(func(s *types.ServiceConfig) *[]string { return &s.CapDrop }),
		"--security-opt":  list(func(s *types.ServiceConfig) *[]string { return &s.SecurityOpt }),
		"--tmpfs":         {apply: func(s *types.ServiceConfig, v string) error { s.Tmpfs = append(s.Tmpfs, v); return nil }},
		"--label":         {apply: addLabel},
		"--add-host":      {apply: addHost},
		"--network-alias": {apply: addAlias},
		"--ulimit":        {apply: addUlimit},
		"--sysctl":        {apply: addSysctl},
		"--shm-size":      size(func(s *types.ServiceConfig) *types.UnitBytes { return &s.ShmSize }),
		"--memory":        size(func(s *types.ServiceConfig) *types.UnitBytes { return &s.MemLimit }),
		"--cpus":          {apply: setCPUs},
		"--pids-limit":    {apply: setPids},
		"--stop-timeout":  {apply: setStopTimeout},
		"--restart":       {ignored: "a dependency container that ends is reported, not started again"},
		"--rm":            {flag: true, ignored: "a job's containers are always removed"},
		"--detach":        {flag: true, ignored: "a service always runs beside the job"},
	})
	for short, long := range map[string]string{
		"-e": "--env", "-p": "--publish", "-v": "--volume", "-u": "--user", "-w": "--workdir", "-h": "--hostname",
		"-l": "--label", "-m": "--memory", "-t": "--tty", "-i": "--interactive", "-d": "--detach", "--net-alias": "--network-alias",
	} {
		options[short] = options[long]
	}
	return options
}

// health returns the service's own healthcheck, made when it has none yet.
func health(s *types.ServiceConfig) *types.HealthCheckConfig {
	if s.HealthCheck == nil {
		s.HealthCheck = &types.HealthCheckConfig{}
	}
	return s.HealthCheck
}

func healthOptions() map[string]option {
	period := func(field func(*types.HealthCheckConfig) **types.Duration) option {
		return option{apply: func(s *types.ServiceConfig, value string) error {
			d, err := time.ParseDuration(value)
			if err != nil {
				return err
			}
			*field(health(s)) = (*types.Duration)(&d)
			return nil
		}}
	}
	return map[string]option{
		"--health-cmd": {apply: func(s *types.ServiceConfig, value string) error {
			health(s).Test = types.HealthCheckTest{"CMD-SHELL", value}
			return nil
		}},
		"--health-interval":       period(func(h *types.HealthCheckConfig) **types.Duration { return &h.Interval }),
		"--health-timeout":        period(func(h *types.HealthCheckConfig) **types.Duration { return &h.Timeout }),
		"--health-start-period":   period(func(h *types.HealthCheckConfig) **types.Duration { return &h.StartPeriod }),
		"--health-start-interval": period(func(h *types.HealthCheckConfig) **types.Duration { return &h.StartInterval }),
		"--health-retries": {apply: func(s *types.ServiceConfig, value string) error {
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return err
			}
			health(s).Retries = &n
			return nil
		}},
		"--no-healthcheck": {flag: true, apply: func(s *types.ServiceConfig, value string) error {
			disable, err := strconv.ParseBool(value)
			health(s).Disable = disable
			return err
		}},
	}
}

func text(field func(*types.ServiceConfig) *string) option {
	return option{apply: func(s *types.ServiceConfig, value string) error { *field(s) = value; return nil }}
}

func list(field func(*types.ServiceConfig) *[]string) option {
	return option{apply: func(s *types.ServiceConfig, value string) error {
		*field(s) = append(*field(s), value)
		return nil
	}}
}

func boolean(field func(*types.ServiceConfig) *bool) option {
	return option{flag: true, apply: func(s *types.ServiceConfig, value string) (err error) {
		*field(s), err = strconv.ParseBool(value)
		return err
	}}
}

func size(field func(*types.ServiceConfig) *types.UnitBytes) option {
	return option{apply: func(s *types.ServiceConfig, value string) error {
		n, err := units.RAMInBytes(value)
		*field(s) = types.UnitBytes(n)
		return err
	}}
}

// addEnv sets NAME=value; a NAME alone has no value to take in a job.
func addEnv(s *types.ServiceConfig, value string) error {
	name, val, ok := strings.Cut(value, "=")
	if name == "" || !ok {
		return fmt.Errorf("%q is not NAME=VALUE", value)
	}
	s.Environment[name] = &val
	return nil
}

func addLabel(s *types.ServiceConfig, value string) error {
	name, val, _ := strings.Cut(value, "=")
	if name == "" {
		return errors.New("a label needs a name")
	}
	if s.Labels == nil {
		s.Labels = types.Labels{}
	}
	s.Labels[name] = val
	return nil
}

func addHost(s *types.ServiceConfig, value string) error {
	hosts, err := types.NewHostsList([]string{value})
	if err != nil {
		return err
	}
	if s.ExtraHosts == nil {
		s.ExtraHosts = types.HostsList{}
	}
	for name, addresses := range hosts {
		s.ExtraHosts[name] = append(s.ExtraHosts[name], addresses...)
	}
	return nil
}

func addAlias(s *types.ServiceConfig, value string) error {
	network := s.Networks[defaultNetwork]
	network.Aliases = append(network.Aliases, value)
	return nil
}

func addUlimit(s *types.ServiceConfig, value string) error {
	u, err := units.ParseUlimit(value)
	if err != nil {
		return err
	}
	if s.Ulimits == nil {
		s.Ulimits = make(map[string]*types.UlimitsConfig)
	}
	s.Ulimits[u.Name] = &types.UlimitsConfig{Soft: int(u.Soft), Hard: int(u.Hard)}
	return nil
}

func addSysctl(s *types.ServiceConfig, value string) error {
	name, val, ok := strings.Cut(value, "=")
	if name == "" || !ok {
		return fmt.Errorf("%q is not NAME=VALUE", value)
	}
	if s.Sysctls == nil {
		s.Sysctls = types.Mapping{}
	}
	s.Sysctls[name] = val
	return nil
}

func setInit(s *types.ServiceConfig, value string) error {
	on, err := strconv.ParseBool(value)
	s.Init = &on
	return err
}

func setCPUs(s *types.ServiceConfig, value string) error {
	n, err := strconv.ParseFloat(value, 32)
	s.CPUS = float32(n)
	return err
}

func setPids(s *types.ServiceConfig, value string) (err error) {
	s.PidsLimit, err = strconv.ParseInt(value, 10, 64)
	return err
}

func setStopTimeout(s *types.ServiceConfig, value string) error {
	n, err := strconv.ParseUint(value, 10, 31)
	d := types.Duration(time.Duration(n) * time.Second)
	s.StopGracePeriod = &d
	return err
}
