# Seawall alone in a small image:
#
#   docker build -t seawall .
#   docker run -p 8080:8080 -v ./seawall.toml:/etc/seawall/seawall.toml:ro seawall
#
# Give `docker stop` more time than `server.drain_timeout` (30s): docker stop --time 40 …

FROM rust:1.95-bookworm AS build
# libz-ng builds with cmake; the compilers are in the image.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build

# The dependencies in a layer of their own, built for a stub: it is reused until Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches \
    && echo 'fn main() {}' | tee src/main.rs benches/eviction.rs > benches/decisions.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin seawall \
    && rm -r src

COPY src src
COPY conf conf
# The sources are older than the stub, so cargo would think that nothing changed.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin seawall \
    && target/release/seawall check conf/seawall.toml

FROM debian:12-slim
# The authorities by which https origins are verified.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/target/release/seawall /usr/local/bin/seawall
COPY conf/seawall.toml conf/reference.toml /etc/seawall/

# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 8080
# No HEALTHCHECK: the image has no HTTP client, and whether and where there is an admin listener is
# the configuration's to say. Have the orchestrator ask it for /healthz and /readyz; it must listen
# on an address that can be reached from outside of the container, such as "0.0.0.0:9090".
ENTRYPOINT ["seawall"]
CMD ["serve", "/etc/seawall/seawall.toml"]
