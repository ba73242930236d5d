# The controller's image: one static file system without a shell, see deploy/image/rootfs.
#   docker build -t seal-controller:dev .
# By digest: a tag can be moved. The version is that of rust-toolchain.toml.
FROM rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS build
WORKDIR /src
# The toolchain of the image as it is. rust-toolchain.toml also asks for tools that only tests need.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .
RUN cargo build --locked --release -p sealkit-controller \
 && deploy/image/rootfs target/release/seal-controller /rootfs

FROM scratch
COPY --from=build /rootfs /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/seal-controller"]
