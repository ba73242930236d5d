# The controller's image: one static file system without a shell, see deploy/image/rootfs.
#   docker build -t seal-controller:dev .
ARG RUST=1.95.0
FROM rust:${RUST}-bookworm AS build
WORKDIR /src
# aws-lc needs them to build.
RUN apt-get update && apt-get install --yes --no-install-recommends cmake clang && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cargo build --locked --release -p sealkit-controller \
 && deploy/image/rootfs target/release/seal-controller /rootfs

FROM scratch
COPY --from=build /rootfs /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/seal-controller"]
