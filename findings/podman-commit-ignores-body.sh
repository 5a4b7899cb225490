#!/bin/bash
# Podman's Docker API answers 201 to a commit with a configuration, and leaves the configuration out.
#
# One would expect:  labels, variables and a command in the body of `POST /commit` are in the image,
#   as the API says and Docker does; or the call is refused.
# What happens:  the image has what the container was created with, and nothing of the body, without
#   an error or a warning. The same in `changes` of the query is heeded.
# Versions:  podman 4.3.1 as Debian 12 packages it, docker 7.2.0 (the client). Reported as Podman's
#   issue 13770, and fixed since by its pull request 20657; Debian 12 still has 4.3.1.
# Matters to:  whoever finds images again by a label from `commit(conf=...)`. Give it to the
#   container when that is created, or as `changes="LABEL name=value"`.
#
# The engine is one of this script's own: its images lie in a temporary folder, and nothing is run.
set -euo pipefail
if [ "$(podman --version 2>/dev/null)" != "podman version 4.3.1" ]; then
  echo "needs podman 4.3.1: apt-get install podman on Debian 12" >&2
  exit 2
fi
if [ "$EUID" -ne 0 ]; then
  echo "run this as root: another user's Podman leaves a process behind" >&2
  exit 2
fi
work=$(mktemp -d)
engine=
clean_up() {
  if [ -n "$engine" ]; then
    kill "$engine" 2>/dev/null || true
    wait "$engine" || true
  fi
  rm -rf "$work"
}
trap clean_up EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile docker==7.2.0
cd "$work"
podman --root "$work/root" --runroot "$work/run" --tmpdir "$work/tmp" --storage-driver vfs \
  system service --time=0 "unix://$work/engine.sock" 2>engine.log &
engine=$!
tries=0
until [ -S engine.sock ]; do
  tries=$((tries + 1))
  [ $tries -lt 300 ] || { cat engine.log >&2; exit 2; }
  sleep 0.1
done

cat >see.py <<'PYTHON'
import io
import sys
import tarfile

import docker

client = docker.APIClient(f"unix://{sys.argv[1]}", timeout=60)
print("podman", client.version()["Version"])
layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as tar:
    tar.addfile(tarfile.TarInfo("file"))
client.import_image_from_data(layer.getvalue(), repository="localhost/base")
container = client.create_container("localhost/base", ["/nothing"], labels={"made": "with it"})


def labels(said, **how):
    client.commit(container, "localhost/made", "1", **how)
    found = client.inspect_image("localhost/made:1")["Config"]["Labels"]
    print(f"{said}: {found}")
    return found


body = labels("labels in the body", conf={"Labels": {"by": "body"}})
query = labels("labels in changes", changes="LABEL by=query")
if body != {"made": "with it"} or query != body | {"by": "query"}:
    sys.exit("not seen: the behaviour has changed")
PYTHON
"$work/venv/bin/python" see.py "$work/engine.sock"
