# The functions' image: one for all eight, FUNCTION_TARGET says which one a container is.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
# Bytecode that is not compared with its source's time: an image's layers round times to seconds, and
# what then looks stale is compiled at every start, for a read-only root cannot keep it.
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 \
    PYTHONDONTWRITEBYTECODE= PYC_INVALIDATION_MODE=UNCHECKED_HASH
WORKDIR /app
COPY requirements/uv.txt requirements/
RUN python3 -m venv /uv && /uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
COPY requirements/run.txt requirements/
RUN /uv/bin/uv venv --python python3 .venv \
 && /uv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode requirements/run.txt \
 && echo /app/shared > "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/oneseek_sandbox.pth" \
 && printf '#!/app/.venv/bin/python\nfrom oneseek_sandbox.cli import main\nmain()\n' > .venv/bin/oneseek-sandbox \
 && chmod 0755 .venv/bin/oneseek-sandbox
# OpenTelemetry beside the environment and not in it: redis-py imports it wherever it finds it, at
# each start, and nothing of ours needs it where nobody listens.
COPY requirements/telemetry.txt requirements/
RUN /uv/bin/uv pip uninstall --quiet --python .venv/bin/python opentelemetry-api \
 && /uv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes --compile-bytecode --no-deps --target telemetry -r requirements/telemetry.txt
COPY shared shared
COPY functions functions
RUN .venv/bin/python -m compileall -q --invalidation-mode unchecked-hash shared functions

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="oneseek-sandbox" \
      org.opencontainers.image.description="Isolated sandboxes for AI agents: the eight functions" \
      org.opencontainers.image.licenses="Apache-2.0"
# The official images of Python come without the standard library's bytecode; others have it already.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash \
      -x '/(tests?|idlelib|lib2to3|tkinter|turtledemo|ensurepip|pydoc_data|(site|dist)-packages)/' \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
# What changes least comes first: new code is a layer of 2 MB.
COPY --from=build /app/.venv /app/.venv
COPY --from=build /app/telemetry /app/telemetry
COPY --from=build /app/shared /app/shared
COPY --from=build /app/functions /app/functions
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=8080 MALLOC_ARENA_MAX=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT []
# exec: uvicorn gets SIGTERM itself and lets calls under way end, which the framework's own CLI does not.
# An endpoint to export to brings in what exports.
CMD ["/bin/sh", "-c", "PYTHONPATH=${OTEL_EXPORTER_OTLP_ENDPOINT:+/app/telemetry} FUNCTION_SOURCE=${FUNCTION_SOURCE:-/app/functions/${FUNCTION_TARGET:?set it to a folder of functions/, like execute}/main.py} exec uvicorn functions_framework.aio:app --host 0.0.0.0 --port \"$PORT\" --lifespan on --no-access-log --timeout-keep-alive 75"]
