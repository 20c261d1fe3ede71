# The builder may be any image with a Rust toolchain and a C linker, on glibc or
# musl, x86_64 or aarch64. The program is built with musl, and where the toolchain
# has none and rustup cannot get it, with the builder's own C library.
ARG BUILDER=rust:1-bookworm

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
# With --target the flag does not reach build scripts and procedural macros,
# which cannot be linked statically everywhere.
RUN set -eu; \
    target="$(uname -m)-unknown-linux-musl"; \
    [ -d "$(rustc --print target-libdir --target "$target")" ] || \
        rustup target add "$target" || \
        target="$(rustc -vV | sed -n 's/^host: //p')"; \
    RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" \
        cargo build --release --locked --target "$target"; \
    cp "target/$target/release/supervise" /supervise

FROM scratch
COPY --from=build /supervise /supervise
ENTRYPOINT ["/supervise", "--"]
