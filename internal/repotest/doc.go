// Package repotest knows the rules of this repository that a test can check:
// which package may import which, what must be commented, which calls belong
// into main alone, which settings are documented, which links lead somewhere.
// It has no code of its own, only tests that read the repository's files.
package repotest
