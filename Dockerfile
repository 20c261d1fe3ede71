# The builder may be any image with a Rust toolchain and a C linker, on glibc
# or musl, x86_64 or aarch64: the program is built for the builder's own target.
ARG BUILDER=rust:1-bookworm

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
# With --target the flag does not reach build scripts and procedural macros,
# which cannot be linked statically everywhere.
RUN set -eu; \
    target="$(rustc -vV | sed -n 's/^host: //p')"; \
    RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" \
        cargo build --release --locked --target "$target"; \
    cp "target/$target/release/supervise" /supervise

FROM scratch
COPY --from=build /supervise /supervise
ENTRYPOINT ["/supervise", "--"]
