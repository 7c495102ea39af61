# Three images from one file: `server` (hub, API, first start), `gateway` (the edge agent alone) and `simulators`.
# Each carries its own extra of the package, locked in uv.lock, and nothing that builds.
FROM python:3.12-slim-bookworm AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/quartermaster
RUN pip install --no-cache-dir uv==0.13.8
WORKDIR /src
COPY pyproject.toml uv.lock ./

# Dependencies first: they change seldom, and stay in the cache when only our own code changes.
FROM build AS build-server
RUN uv sync --frozen --no-dev --no-install-project --extra hub --extra routing --extra api
COPY . .
RUN uv sync --frozen --no-dev --no-editable --extra hub --extra routing --extra api

FROM build AS build-gateway
RUN uv sync --frozen --no-dev --no-install-project --extra edge
COPY . .
RUN QM_SKIP_WEB=1 uv sync --frozen --no-dev --no-editable --extra edge

FROM build AS build-simulators
RUN uv sync --frozen --no-dev --no-install-project --extra simulators
COPY . .
RUN QM_SKIP_WEB=1 uv sync --frozen --no-dev --no-editable --extra simulators

FROM python:3.12-slim-bookworm AS base
# New volumes take over the owner of the folder they are mounted on.
RUN useradd --uid 10001 --user-group --create-home --home-dir /var/lib/quartermaster --shell /usr/sbin/nologin quartermaster \
    && install --directory --owner=quartermaster --group=quartermaster /site
ENV PATH=/opt/quartermaster/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/quartermaster
ENTRYPOINT ["quartermaster"]

FROM base AS server
COPY --from=build-server /opt/quartermaster /opt/quartermaster

FROM base AS gateway
COPY --from=build-gateway /opt/quartermaster /opt/quartermaster

FROM base AS simulators
COPY --from=build-simulators /opt/quartermaster /opt/quartermaster
