# The functions' image: one for all eight, FUNCTION_TARGET says which one a container is.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 PYTHONDONTWRITEBYTECODE=
WORKDIR /app
COPY requirements/uv.txt requirements/run.txt requirements/
RUN python3 -m venv /uv && /uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
# Compiled here: with a read-only root nobody can write bytecode later, and a start takes thrice as long.
RUN /uv/bin/uv venv --python python3 .venv \
 && /uv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode requirements/run.txt
COPY shared shared
COPY functions functions
RUN echo /app/shared > "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/oneseek_sandbox.pth" \
 && printf '#!/app/.venv/bin/python\nfrom oneseek_sandbox.cli import main\nmain()\n' > .venv/bin/oneseek-sandbox \
 && chmod 0755 .venv/bin/oneseek-sandbox \
 && .venv/bin/python -m compileall -q shared functions

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="oneseek-sandbox" \
      org.opencontainers.image.description="Isolated sandboxes for AI agents: the eight functions" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=8080
USER 65532:65532
EXPOSE 8080
ENTRYPOINT []
# exec: uvicorn gets SIGTERM itself and lets calls under way end, which the framework's own CLI does not.
CMD ["/bin/sh", "-c", "FUNCTION_SOURCE=/app/functions/${FUNCTION_TARGET:?name a function}/main.py exec uvicorn functions_framework.aio:app --host 0.0.0.0 --port \"$PORT\" --lifespan on --no-access-log --timeout-keep-alive 75"]
