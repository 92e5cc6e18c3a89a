package runner

import "testing"

func TestARegistrysCredentialsAreForItsImagesOnly(t *testing.T) {
	for _, c := range []struct {
		host, image string
		want        bool
	}{
		{"my.azurecr.io", "my.azurecr.io/team/app:1", true},
		{"my.azurecr.io", "redis:7", false},
		{"my.azurecr.io", "other.azurecr.io/app", false},
		{"registry.ci:5000", "registry.ci:5000/app@sha256:" + zeros64, true},
		{"registry.ci:5000", "registry.ci/app", false},
		{"index.docker.io", "redis", true},
		{"registry-1.docker.io", "me/app:2", true},
		{"index.docker.io", "ghcr.io/me/app", false},
		{"index.docker.io", "NOT an image", false},
	} {
		if got := (&registry{host: c.host}).has(c.image); got != c.want {
			t.Errorf("the registry %s has %s: %v, want %v", c.host, c.image, got, c.want)
		}
	}
}

const zeros64 = "0000000000000000000000000000000000000000000000000000000000000000"
