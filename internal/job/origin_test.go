package job

import "testing"

func TestTheOriginNamesTheRunAndNoCredentials(t *testing.T) {
	said := map[string]string{
		"system.collectionUri": "https://dev.azure.com/contoso/", "system.teamProject": "Our Shop", "build.buildId": "42", "system.jobId": "a-b",
		"build.buildNumber": "20260101.7", "system.jobDisplayName": "Build it", "build.repository.uri": "https://me:pw@example.com/shop.git", "build.sourceVersion": "abc",
	}
	want := Origin{
		Run: "https://dev.azure.com/contoso/Our%20Shop/_build/results?buildId=42&view=logs&j=a-b", Number: "20260101.7",
		Name: "Build it", Source: "https://example.com/shop.git", Revision: "abc",
	}
	if got := OriginOf(func(name string) string { return said[name] }); got != want {
		t.Errorf("OriginOf() = %+v, want %+v", got, want)
	}
	if got := OriginOf(func(string) string { return "" }); got != (Origin{}) {
		t.Errorf("OriginOf() without variables = %+v, want nothing", got)
	}
}

func TestAddressesLoseTheirCredentials(t *testing.T) {
	for address, want := range map[string]string{
		"https://me:pw@example.com/a.git": "https://example.com/a.git", "https://example.com/a.git": "https://example.com/a.git",
		"git@example.com:a.git": "git@example.com:a.git", "https://me:p%zz@example.com/a": "https://example.com/a", "/srv/a.git": "/srv/a.git",
	} {
		if got := WithoutCredentials(address); got != want {
			t.Errorf("WithoutCredentials(%q) = %q, want %q", address, got, want)
		}
	}
}
