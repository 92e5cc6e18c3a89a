package podmanrun_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun"
)

func TestAServiceIsPulledUnlessItsImageIsLocal(t *testing.T) {
	for policy, local := range map[string]bool{"always": false, "never": true} {
		if got := yamlOf(t, podmanrun.Service{Image: "x", LocalImage: local}); !strings.Contains(got, "pull_policy: "+policy+"\n") {
			t.Errorf("with localImage: %t:\n%s", local, got)
		}
	}
}

// yamlOf returns a project with one service db as compose would write it.
func yamlOf(t *testing.T, s podmanrun.Service) string {
	t.Helper()
	p, err := podmanrun.Services("job", map[string]podmanrun.Service{"db": s})
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestAJobsServiceBecomesAComposeService(t *testing.T) {
	got := yamlOf(t, podmanrun.Service{
		Image: "mysql:8", Env: map[string]string{"MYSQL_DATABASE": "shop"}, Ports: []string{"3306", "127.0.0.1:18080:80/udp"},
		Volumes: []string{"data:/var/lib/mysql", "/tmp/x:/x:ro", "/scratch"}, Command: []string{"mysqld"}, LocalImage: true,
		Options: `--health-cmd "mysqladmin ping -h localhost" --health-interval=2s --health-retries 5 -e A=b\ c --name=other -m 64m --ulimit nofile=10:20 --privileged --cpus=1.5 --init`,
	})
	want := `name: job
services:
  db:
    container_name: other
    cpus: 1.5
    command:
      - mysqld
    environment:
      A: b c
      MYSQL_DATABASE: shop
    image: mysql:8
    init: true
    mem_limit: "67108864"
    networks:
      default: {}
    privileged: true
    pull_policy: never
    ulimits:
      nofile:
        soft: 10
        hard: 20
    volumes:
      - type: volume
        source: data
        target: /var/lib/mysql
        volume: {}
      - type: bind
        source: /tmp/x
        target: /x
        read_only: true
        bind: {}
      - type: volume
        target: /scratch
        volume: {}
    healthcheck:
      test:
        - CMD-SHELL
        - mysqladmin ping -h localhost
      interval: 2s
      retries: 5
    ports:
      - mode: ingress
        target: 3306
        protocol: tcp
      - mode: ingress
        host_ip: 127.0.0.1
        target: 80
        published: "18080"
        protocol: udp
networks:
  default:
    name: job_default
volumes:
  data:
    name: job_data
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the service differs (-want +got):\n%s", diff)
	}
}

func TestABadOptionIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ options, want string }{
		"unknown":         {"--gpus all", "option --gpus is not supported"},
		"without a value": {"-e", "option -e needs a value"},
		"not a duration":  {"--health-interval=soon", "option --health-interval: "},
		"not an option":   {"hello", `"hello" is no option`},
		"open quote":      {`--health-cmd "true`, "options "},
		"no value to set": {"-e NAME", `option -e: "NAME" is not NAME=VALUE`},
		"own network":     {"--network=host", "option --network is not supported"},
		"bad size":        {"-m lots", "option -m: "},
		"bad signal":      {"--stop-signal SIGNONE", `stop_signal "SIGNONE" is no signal`},
		"bad security":    {"--security-opt systempaths=some", "systempaths"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := podmanrun.Services("job", map[string]podmanrun.Service{"db": {Image: "x", Options: c.options}})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "service db: ") {
				t.Errorf("Services = %v, want an error of service db with %q", err, c.want)
			}
		})
	}
}

func TestAnOptionWithoutMeaningIsAWarning(t *testing.T) {
	p, err := podmanrun.Services("job", map[string]podmanrun.Service{"db": {Image: "x", Options: "--rm --restart always -d"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"service db: option --rm is ignored: a job's containers are always removed",
		"service db: option --restart is ignored: a dependency container that ends is reported, not started again",
		"service db: option -d is ignored: a service always runs beside the job",
	}
	if diff := cmp.Diff(want, p.Warnings()); diff != "" {
		t.Errorf("warnings differ (-want +got):\n%s", diff)
	}
}

func TestARelativeVolumeOfAJobIsRefused(t *testing.T) {
	_, err := podmanrun.Services("job", map[string]podmanrun.Service{"db": {Image: "x", Volumes: []string{"./init:/init"}}})
	if hints := hint.All(err); len(hints) != 1 || !strings.Contains(hints[0], "$(Build.SourcesDirectory)/init") {
		t.Errorf("Services = %v with hints %q, want one with $(Build.SourcesDirectory)/init", err, hints)
	}
}

func FuzzServiceOptions(f *testing.F) {
	for _, seed := range []string{
		`--health-cmd "a b" --health-interval=2s`, "-eA=b", "-e A=b -p 80:80", "--tty=false -i", "--ulimit nofile=1:2", "-", "--", "-=", "--=",
		"--add-host a:1.2.3.4", "--cpus NaN", "-m -1", "--network-alias x", "--stop-timeout 1", "--sysctl a=b", "-v :", "-v c:/x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, options string) {
		p, err := podmanrun.Services("job", map[string]podmanrun.Service{"db": {Image: "x", Options: options}})
		if (p == nil) == (err == nil) {
			t.Errorf("Services(%q) = %v, %v; want exactly one of them", options, p, err)
		}
	})
}

func TestFlagsOfOneLetterMayBeJoined(t *testing.T) {
	for _, options := range []string{"-it", "-ti", "-i -t", "-dit", "-t -i=true"} {
		got := yamlOf(t, podmanrun.Service{Image: "x", Options: options})
		if !strings.Contains(got, "stdin_open: true") || !strings.Contains(got, "tty: true") {
			t.Errorf("options %q became\n%s, want a terminal that can be typed on", options, got)
		}
	}
	if got := yamlOf(t, podmanrun.Service{Image: "x", Options: "-t=false -i"}); strings.Contains(got, "tty: true") {
		t.Errorf("-t=false became\n%s", got)
	}
}
