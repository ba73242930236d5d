# The controller's image: one static file system without a shell, see deploy/image/rootfs.
#   docker build -t seal-controller:dev .
# By digest: a tag can be moved. The version is that of rust-toolchain.toml. Where another registry has
# the image: --build-arg BUILDER=…
ARG BUILDER=docker.io/library/rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
FROM ${BUILDER} AS build
WORKDIR /src
# The toolchain of the image as it is. rust-toolchain.toml also asks for tools that only tests need.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .
# What was downloaded and compiled serves the next build.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release -p sealkit-controller \
 && deploy/image/rootfs target/release/seal-controller /rootfs

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="seal-controller" \
      org.opencontainers.image.description="Opens SealedSecrets and reads ExternalSecrets in a cluster" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /rootfs /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/seal-controller"]
