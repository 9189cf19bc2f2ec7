# A node: docker build -t edgelake . ; docker run -p 32549:32549 -v edgelake:/var/lib/edgelake edgelake
# docs/install.md has the variables of its environment, and compose.yaml what is started with them.
ARG PYTHON=3.13
ARG RUST=1.95

FROM rust:${RUST}-slim-bookworm AS rust

FROM python:${PYTHON}-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# The compiler of the suite, with its security updates: no pinned version.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential \
 && rm -rf /var/lib/apt/lists/*
COPY --from=rust /usr/local/rustup /usr/local/rustup
COPY --from=rust /usr/local/cargo /usr/local/cargo
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$PATH
WORKDIR /src
COPY . .
# Extras of the image: comma-separated names of docs/install.md; "" for the core alone.
ARG EXTRAS=postgres,kafka,grpc,security
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    python -m venv /opt/edgelake \
 && /opt/edgelake/bin/pip install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}"

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="EdgeLake" \
      org.opencontainers.image.description="A data node for the edge" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 edgelake \
 && useradd --system --uid 10001 --gid edgelake --home-dir /var/lib/edgelake --shell /usr/sbin/nologin edgelake \
 && install --directory --owner=edgelake --group=edgelake --mode=0750 /var/lib/edgelake
COPY --from=build /opt/edgelake /opt/edgelake
COPY docker/healthy.py /opt/edgelake/healthy.py
ENV PATH=/opt/edgelake/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EDGELAKE_HOME=/var/lib/edgelake \
    EDGELAKE_LOG=warning
USER 10001:10001
WORKDIR /var/lib/edgelake
VOLUME /var/lib/edgelake
# TCP, REST and message broker of an operator; other kinds of node have others (docs/install.md).
EXPOSE 32148 32149 32150
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 CMD ["python", "/opt/edgelake/healthy.py"]
ENTRYPOINT ["edgelake"]
CMD ["deploy"]
