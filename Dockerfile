# The agent's image: the binaries that `make dist` built, git and CA certificates.
#
# The binaries are static and cross-compiled by Go, so nothing is compiled in
# here and an arm64 image needs no emulated compiler.
#
# BASE is pinned by digest where it is built for release; the default is a name
# so that the tests can build it on their own base images.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS agent
# git fetches sources, ca-certificates lets it and the agent trust servers. Nothing
# else: an agent that carries no tools cannot be wrong about their versions. What
# nobody reads in a container goes; the licences stay.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /usr/share/man /usr/share/locale \
 && find /usr/share/doc -type f ! -name copyright -delete
ARG TARGETARCH=amd64
COPY .build/dist/linux-${TARGETARCH}/ /usr/local/bin/
# 10001 is outside the ranges that distributions hand out, so that it never
# meets a user of a mounted volume by accident.
RUN useradd --uid 10001 --create-home --home-dir /home/dockless --shell /bin/bash dockless \
 && install -d -o 10001 -g 10001 /work /home/dockless/state
USER 10001:10001
WORKDIR /home/dockless
ENV AZP_WORK=/work \
    DOCKLESS_STATE_DIR=/home/dockless/state
VOLUME /work
ENTRYPOINT ["dockless"]
CMD ["agent"]
