package stackcmd

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/podmanrun"
)

func newConfigCommand(f *stackFlags) *cobra.Command {
	var (
		services, images, volumes, networks, profiles, quiet bool
		hash, format, output                                 string
	)
	cmd := &cobra.Command{
		Use:   "config [SERVICE...]",
		Short: "Print the project as one interpolated compose file",
		Long: `config reads the compose files, judges every key, and prints what they say together:
interpolated, merged, with absolute paths. It needs no Podman.`,
		Example:           examples("config", "config -q", "config --services", "config --hash '*'", "config --format json -o merged.json"),
		ValidArgsFunction: f.services(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cmdline.OneOf("--format", format, "yaml", "json"); err != nil {
				return err
			}
			p, err := f.part(cmd, args, true)
			if err != nil || quiet {
				return err
			}
			out := cmd.OutOrStdout()
			self := func(s string) string { return s }
			switch {
			case services:
				return printEach(out, p.ServiceNames(), self)
			case images:
				return printEach(out, p.Images(false), self)
			case volumes:
				return printEach(out, p.Volumes(), self)
			case networks:
				return printEach(out, p.Networks(), self)
			case profiles:
				return printEach(out, p.Profiles(), self)
			case hash != "":
				return printHashes(out, p, hash)
			}
			data, err := p.YAML()
			if format == "json" {
				data, err = p.JSON()
			}
			if err != nil {
				return err
			}
			if output != "" {
				return os.WriteFile(output, data, 0o600) // it may hold what variables held
			}
			_, err = out.Write(data)
			return err
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&services, "services", false, "print the names of the services")
	flags.BoolVar(&images, "images", false, "print the names of the images")
	flags.BoolVar(&volumes, "volumes", false, "print the names of the volumes")
	flags.BoolVar(&networks, "networks", false, "print the names of the networks")
	flags.BoolVar(&profiles, "profiles", false, "print the names of the profiles")
	flags.StringVar(&hash, "hash", "", "print a hash of the configuration of `SERVICE`, or of each for *")
	flags.StringVar(&format, "format", "yaml", "`FORM`: yaml or json")
	flags.StringVarP(&output, "output", "o", "", "write to `FILE`")
	flags.BoolVarP(&quiet, "quiet", "q", false, "print nothing, only judge the files")
	return cmd
}

func printHashes(w io.Writer, p *podmanrun.Project, of string) error {
	hashes, err := p.Hashes()
	if err != nil {
		return err
	}
	if of != "*" {
		hash, known := hashes[of]
		if !known {
			return cmdline.Usagef("the project has no service %q", of)
		}
		hashes = map[string]string{of: hash}
	}
	for _, name := range slices.Sorted(maps.Keys(hashes)) {
		if _, err := fmt.Fprintf(w, "%s %s\n", name, hashes[name]); err != nil {
			return err
		}
	}
	return nil
}
