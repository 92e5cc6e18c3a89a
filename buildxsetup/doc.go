// Package buildxsetup knows how to have a buildx builder that points at
// BuildKit. It talks to buildkitd over gRPC and to the files that
// `docker buildx` keeps its builders in, never to the docker CLI.
//
// One use flows like this: [Ensure] waits for the buildkitd addresses of a
// [Config], reads their workers, and makes a builder of buildx's "remote"
// driver current that names exactly these addresses; a builder that is already
// right is left alone, file for file. Without an address it takes the current
// builder if that answers, and else starts a buildkitd of its own. The [Builder]
// it returns hands out connections ([Node.Client]) and ends its own buildkitd in
// [Builder.Close].
//
// The directory of the Docker configuration comes from the caller. The packages
// of docker/cli and buildx would otherwise ask DOCKER_CONFIG, BUILDX_CONFIG and
// HOME themselves; every call here names the directory, so they do not. What
// they still look at is SUDO_UID and SUDO_GID, to give files written under sudo
// to the user who called it.
package buildxsetup
