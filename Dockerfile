# The sidecar alone, as an unprivileged user, for a read-only root file system:
#   docker build -t kong-credential-validator .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -p 127.0.0.1:8100:8100 \
#     -v ./validator.yaml:/etc/validator/validator.yaml:ro -v state:/var/lib/validator kong-credential-validator
# In a container, listen.data is 0.0.0.0:8100, or unix:/run/validator/data.sock on a volume shared with the gateway.

FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
# Wheels only: nothing is compiled here, and no package's own code runs as part of the build.
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements-build.lock \
    && python -m venv --without-pip /opt/validator \
    && /opt/build/bin/pip --python /opt/validator/bin/python install --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY validator validator
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /src/dist . \
    && /opt/build/bin/pip --python /opt/validator/bin/python install --no-deps --no-index /src/dist/*.whl \
    && /opt/validator/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/validator/lib

FROM python:3.13-slim-bookworm
COPY --from=build /opt/validator /opt/validator
# A fresh volume takes over the owner and mode of the folder that it covers.
RUN install -d -o 65532 -g 65532 -m 0750 /var/lib/validator /run/validator \
    && install -d /etc/validator
ENV PATH=/opt/validator/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HEALTHCHECK_ADDRESS=127.0.0.1:8101
# A number, so that Kubernetes can see for itself that it is not root (runAsNonRoot).
USER 65532:65532
WORKDIR /var/lib/validator
VOLUME ["/var/lib/validator", "/run/validator"]
EXPOSE 8100 8101 8102
STOPSIGNAL SIGTERM
# HEALTHCHECK_ADDRESS is listen.control as seen from inside the container.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 CMD ["python", "-I", "-c", "import http.client, os; c = http.client.HTTPConnection(os.environ['HEALTHCHECK_ADDRESS'], timeout=3); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["validator"]
CMD ["serve", "--config", "/etc/validator/validator.yaml"]
