# syntax=docker/dockerfile:1
# One image for every role: `flashsale serve --roles gateway` or `--roles worker`. Redis and Postgres are elsewhere.
ARG RUST_VERSION=1.95
ARG NODE_VERSION=22
ARG DEBIAN_RELEASE=bookworm

FROM node:${NODE_VERSION}-${DEBIAN_RELEASE}-slim AS node

# --- The pages and the browser client ---------------------------------------------------------------------------------
FROM rust:${RUST_VERSION}-${DEBIAN_RELEASE} AS web
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /src

# The tools first: they change with the lock files, not with every line of source.
COPY Cargo.toml Cargo.lock ./
COPY web/package.json web/package-lock.json web/
COPY scripts/setup scripts/wasm-compiler scripts/browser scripts/
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    scripts/setup --build

COPY scripts scripts
COPY protocol protocol
COPY client-wasm client-wasm
COPY draw-check draw-check
# The other members are only named: cargo wants to see the whole workspace.
COPY engine/Cargo.toml engine/
COPY server/Cargo.toml server/
COPY loadtest/Cargo.toml loadtest/
RUN mkdir -p engine/src server/src server/tests/it loadtest/src && touch engine/src/lib.rs server/src/lib.rs server/src/main.rs server/tests/it/main.rs loadtest/src/main.rs
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=flashsale-wasm \
    scripts/build-wasm
COPY web web
RUN scripts/build-web

# --- The server -------------------------------------------------------------------------------------------------------
FROM rust:${RUST_VERSION}-${DEBIAN_RELEASE} AS server
WORKDIR /src
ENV SQLX_OFFLINE=true
COPY Cargo.toml Cargo.lock ./
COPY .sqlx .sqlx
COPY protocol protocol
COPY client-wasm client-wasm
COPY draw-check draw-check
COPY loadtest loadtest
COPY lua lua
COPY migrations migrations
COPY engine engine
COPY server server
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=flashsale-server \
    cargo build --release --locked --package flashsale && cp target/release/flashsale /usr/local/bin/flashsale

# --- What runs --------------------------------------------------------------------------------------------------------
FROM debian:${DEBIAN_RELEASE}-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/flashsale --create-home --shell /usr/sbin/nologin flashsale
COPY --from=server /usr/local/bin/flashsale /usr/local/bin/flashsale
COPY --from=web /src/web/dist /usr/share/flashsale/web

ENV FLASHSALE_LISTEN=0.0.0.0:8080 \
    FLASHSALE_OPERATIONS_LISTEN=0.0.0.0:9090 \
    FLASHSALE_WEB_DIR=/usr/share/flashsale/web \
    FLASHSALE_DATA_DIR=/var/lib/flashsale \
    FLASHSALE_LOG_FORMAT=json
USER flashsale
WORKDIR /var/lib/flashsale
# 9090 is for load balancers and monitoring: do not publish it.
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# bash speaks enough HTTP for this, so that the image needs no curl.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/${FLASHSALE_OPERATIONS_LISTEN##*:} && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200'"]
ENTRYPOINT ["flashsale"]
CMD ["serve"]
