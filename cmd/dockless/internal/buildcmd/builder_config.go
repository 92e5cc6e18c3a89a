package buildcmd

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/hint"
)

// configFlags are those of builder config.
type configFlags struct {
	size, root                        string
	plainHTTP, insecure, mirrors, cas []string
	options                           buildkitconf.Options
	ca, cert, key                     string
}

func newBuilderConfigCommand() *cobra.Command {
	f := &configFlags{}
	cmd := &cobra.Command{
		Use:   "config {--volume-size SIZE | --root DIR}",
		Short: "Print a buildkitd.toml whose cache fits its volume",
		Long: `config prints a buildkitd.toml for a volume of --volume-size, or for the one that
--root is on. The cache stays below a ceiling that has no age condition, and a
build starts with room to grow; every number has its reason beside it.

GB are 2^30 bytes here, as BuildKit reads them.`,
		Example: "  dockless builder config --volume-size 100GB --rootless --plain-http registry:5000 > buildkitd.toml",
		Args:    cmdline.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.print(cmd.OutOrStdout()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.size, "volume-size", "", "`SIZE` of the volume, for example 100GB")
	flags.StringVar(&f.root, "root", "", "`DIR` of buildkitd's state, on this machine unless --volume-size is given")
	flags.BoolVar(&f.options.Shared, "shared", false, "others keep data on the volume, too: take at most half of it")
	flags.StringVar(&f.options.Worker, "worker", "oci", "`KIND` of worker: oci or containerd")
	flags.StringVar(&f.options.Snapshotter, "snapshotter", "", "`NAME` of the snapshotter (default BuildKit's choice)")
	flags.BoolVar(&f.options.Rootless, "rootless", false, "buildkitd runs in a user namespace")
	flags.BoolVar(&f.options.NoProcessSandbox, "no-process-sandbox", false, "steps share buildkitd's processes, as an unprivileged pod needs")
	flags.StringArrayVar(&f.options.Addresses, "addr", nil, "`ADDRESS` to listen on, unix:///path or tcp://host:port; may be repeated")
	flags.StringVar(&f.ca, "tlscacert", "", "`FILE` with the authority of the clients' certificates")
	flags.StringVar(&f.cert, "tlscert", "", "`FILE` with buildkitd's certificate")
	flags.StringVar(&f.key, "tlskey", "", "`FILE` with the key of buildkitd's certificate")
	flags.StringArrayVar(&f.plainHTTP, "plain-http", nil, "`REGISTRY`, host:port, to speak plain HTTP to; may be repeated")
	flags.StringArrayVar(&f.insecure, "insecure", nil, "`REGISTRY` whose certificate is not checked; may be repeated")
	flags.StringArrayVar(&f.mirrors, "mirror", nil, "`REGISTRY=MIRROR` to ask first, for example docker.io=mirror:5000; may be repeated")
	flags.StringArrayVar(&f.cas, "registry-ca", nil, "`REGISTRY=FILE` with the authority of its certificate; may be repeated")
	cmdline.CompleteWords(cmd, "worker", "oci", "containerd")
	return cmd
}

func (f *configFlags) print(w io.Writer) error {
	size, err := f.volume()
	if err != nil {
		return err
	}
	if err := f.registries(); err != nil {
		return err
	}
	o := f.options
	o.Root, o.TLS = f.root, buildkitconf.TLS{CA: f.ca, Cert: f.cert, Key: f.key}
	if o.TLS != (buildkitconf.TLS{}) && slices.Contains([]string{f.ca, f.cert, f.key}, "") {
		return cmdline.Usagef("--tlscacert, --tlscert and --tlskey belong together")
	}
	o.Origin = f.origin()
	text, err := buildkitconf.Generate(size, o)
	if err != nil {
		return cmdline.Unusable(err)
	}
	_, err = io.WriteString(w, text)
	return err
}

func (f *configFlags) volume() (int64, error) {
	switch {
	case f.size != "":
		size, err := buildkitconf.ParseSize(f.size)
		if err != nil {
			return 0, hint.With(cmdline.Usagef("--volume-size %q is no size", f.size), "write a size like 100GB")
		}
		return size, nil
	case f.root != "":
		v, err := buildkitconf.StatVolume(f.root)
		return v.Size, err
	}
	return 0, hint.With(cmdline.Usagef("neither --volume-size nor --root is given"), "write --volume-size 100GB, or --root with a directory on the volume")
}

// registries puts the flags together, by registry.
func (f *configFlags) registries() error {
	all := make(map[string]buildkitconf.Registry)
	var errs []error
	each := func(flag string, values []string, pair bool, set func(r *buildkitconf.Registry, value string)) {
		for _, v := range values {
			host, value, ok := strings.Cut(v, "=")
			if host == "" || pair && value == "" || !pair && ok {
				errs = append(errs, fmt.Errorf("--%s %q is not of the form that --help shows", flag, v))
				continue
			}
			r := all[host]
			set(&r, value)
			all[host] = r
		}
	}
	each("plain-http", f.plainHTTP, false, func(r *buildkitconf.Registry, _ string) { r.HTTP = true })
	each("insecure", f.insecure, false, func(r *buildkitconf.Registry, _ string) { r.Insecure = true })
	each("mirror", f.mirrors, true, func(r *buildkitconf.Registry, v string) { r.Mirrors = append(r.Mirrors, v) })
	each("registry-ca", f.cas, true, func(r *buildkitconf.Registry, v string) { r.CA = append(r.CA, v) })
	f.options.Registries = all
	if err := errors.Join(errs...); err != nil {
		return cmdline.Unusable(err)
	}
	return nil
}

// origin is the command line that makes the same text again.
func (f *configFlags) origin() string {
	words := []string{"dockless builder config"}
	add := func(flag string, values ...string) {
		for _, v := range values {
			if v != "" {
				words = append(words, "--"+flag, v)
			}
		}
	}
	truth := func(flag string, set bool) {
		if set {
			words = append(words, "--"+flag)
		}
	}
	add("volume-size", f.size)
	add("root", f.root)
	if f.options.Worker != "oci" {
		add("worker", f.options.Worker)
	}
	truth("shared", f.options.Shared)
	truth("rootless", f.options.Rootless)
	truth("no-process-sandbox", f.options.NoProcessSandbox)
	add("snapshotter", f.options.Snapshotter)
	add("addr", f.options.Addresses...)
	add("tlscacert", f.ca)
	add("tlscert", f.cert)
	add("tlskey", f.key)
	add("plain-http", f.plainHTTP...)
	add("insecure", f.insecure...)
	add("mirror", f.mirrors...)
	add("registry-ca", f.cas...)
	return strings.Map(func(r rune) rune { // of one line: it is a comment
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.Join(words, " "))
}
