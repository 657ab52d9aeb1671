# The image of authz-sidecar. From the root of the repository:
#
#   docker build -t authz-sidecar --build-arg REVISION="$(git rev-parse HEAD)" .
#
# docs/operations.md says how to run it.

FROM python:3.11-slim AS python

# The base image comes without bytecode, and with a read-only root none could be added: every start and every probe would
# compile the standard library again. Bytecode with unchecked hashes does not depend on the times of files.
RUN python -m compileall -q --invalidation-mode unchecked-hash -x '/(site-packages|test|tests)/' /usr/local/lib/python3.11

ENV PYTHONDONTWRITEBYTECODE=1


FROM python AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# First what changes seldom. There is no compiler here: a package without a wheel for this platform ends the build.
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/authz-sidecar \
    && pip --python /opt/authz-sidecar install --no-compile --require-hashes --only-binary :all: -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# Then the sidecar, and out with what only its installation needed.
RUN pip --python /opt/authz-sidecar install --no-compile --no-deps --no-build-isolation --no-index . \
    && pip --python /opt/authz-sidecar uninstall --yes hatchling packaging pathspec pluggy tomlkit trove-classifiers \
    && pip --python /opt/authz-sidecar check

COPY deploy/image/probe.py ./
RUN install -m 0555 probe.py /opt/authz-sidecar/bin/authz-sidecar-probe \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/authz-sidecar/lib


FROM python

ARG REVISION=""
LABEL org.opencontainers.image.title="authz-sidecar" \
      org.opencontainers.image.description="A policy-as-code authorization sidecar that answers from Casbin policies kept in git" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /opt/authz-sidecar /opt/authz-sidecar

# The bundle is mounted or copied to /policies; without one the server does not start. Addresses keep their defaults, the
# loopback interface: who wants others to reach the container says so with `--insecure`.
ENV PATH=/opt/authz-sidecar/bin:$PATH \
    AUTHZ_POLICIES=/policies
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /
EXPOSE 50051 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["authz-sidecar-probe", "/readyz"]
ENTRYPOINT ["authz-sidecar"]
CMD ["serve"]
