# shellcheck shell=sh
# Parts of deploy and undeploy: the cluster, what it lacks, what is being waited for.
SYSTEM=oneseek-sandbox-system
SANDBOXES=oneseek-sandbox

say() { printf '== %s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
cluster() { kubectl ${CONTEXT:+--context "$CONTEXT"} "$@"; }
kube() { cluster --namespace "$SYSTEM" "$@"; }

# has KIND NAME: whether an object is there; one that cannot be looked for is not taken for missing.
has() {
  found=$(kube get "$1" "$2" --ignore-not-found -o name) || fail "The cluster does not say whether there is a $1 $2."
  [ "$found" ]
}

# Says which cluster is meant, before anything is touched.
name_cluster() {
  command -v kubectl >/dev/null || fail "kubectl is not installed: https://kubernetes.io/docs/tasks/tools/"
  context=${CONTEXT:-$(kubectl config current-context 2>/dev/null || true)}
  [ "$context" ] || fail "No cluster is chosen: set KUBECONFIG, or CONTEXT to one of 'kubectl config get-contexts'."
  server=$(kubectl config view --minify --context "$context" -o 'jsonpath={.clusters[0].cluster.server}')
  # Every later call means this one, whatever the kubeconfig says by then.
  CONTEXT=$context
  say "$1 context '$context' ($server)"
  kube get --raw /readyz --request-timeout=10s >/dev/null 2>&1 ||
    fail "The cluster of context '$context' does not answer. Is it running? kubectl --context $context cluster-info"
}

require_knative() {
  if ! kube get crd services.serving.knative.dev >/dev/null 2>&1; then
    fail "This cluster has no Knative Serving. Install it, then deploy again:

  V=v1.19.0
  kubectl apply -f https://github.com/knative/serving/releases/download/knative-$V/serving-crds.yaml
  kubectl apply -f https://github.com/knative/serving/releases/download/knative-$V/serving-core.yaml
  kubectl apply -f https://github.com/knative-extensions/net-kourier/releases/download/knative-$V/kourier.yaml
  kubectl patch configmap/config-network -n knative-serving --type merge \\
    -p '{\"data\":{\"ingress-class\":\"kourier.ingress.networking.knative.dev\"}}'

docs/kubernetes.md has the rest for kind and Docker Desktop."
  fi
  cluster -n knative-serving wait deployment --all --for=condition=Available --timeout=120s >/dev/null ||
    fail "Knative Serving is installed and not ready: kubectl -n knative-serving get pods"
}

require_gateway_api() {
  kube get crd httproutes.gateway.networking.k8s.io >/dev/null 2>&1 ||
    fail "This cluster has no Gateway API. Install it with a controller (https://gateway-api.sigs.k8s.io/implementations/), then deploy again:

  kubectl apply -f https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.3.0/standard-install.yaml"
}

# Waits for the functions, the route and the Redis; when the time is over, says what each lacks.
wait_ready() {
  seconds=${WAIT_SECONDS:-300}
  say "waiting up to $seconds s for the functions, the route and Redis to be ready"
  redis=$(kube get statefulset oneseek-sandbox-redis -o name --ignore-not-found)
  if ! kube wait ksvc --all --for=condition=Ready --timeout="${seconds}s" >/dev/null 2>&1 ||
     { [ "$redis" ] && ! kube rollout status "$redis" --timeout="${seconds}s" >/dev/null 2>&1; }; then
    echo "Not ready:" >&2
    kube get ksvc -o 'custom-columns=NAME:.metadata.name,READY:.status.conditions[?(@.type=="Ready")].status,WHY:.status.conditions[?(@.type=="Ready")].message' >&2
    kube get pods >&2
    kube get events --field-selector type=Warning --sort-by=.lastTimestamp 2>/dev/null | tail -8 >&2
    fail "If an image cannot be pulled, load it (kind load docker-image), or name another: IMAGE=, NGINX_IMAGE=, VALKEY_IMAGE=."
  fi
}

first_cleanup() {
  job=sandbox-cleanup-deploy-$(date +%s)
  kube create job "$job" --from=cronjob/sandbox-cleanup >/dev/null
  if ! kube wait "job/$job" --for=condition=Complete --timeout=150s >/dev/null 2>&1; then
    kube logs "job/$job" --tail=5 >&2 || true
    fail "cleanup_idle did not answer: kubectl -n $SYSTEM logs -l serving.knative.dev/service=sandbox-cleanup-idle -c function"
  fi
  # The CronJob, whose it is, may have cleared it away at the turn of a minute.
  kube delete job "$job" --ignore-not-found >/dev/null
}

show_use() {
  option=${CONTEXT:+ --context $CONTEXT}
  url=$(kube get ksvc sandbox-route -o 'jsonpath={.status.url}' --ignore-not-found)
  host=$(kube get httproute oneseek-sandbox -o 'jsonpath={.spec.hostnames[0]}' --ignore-not-found 2>/dev/null || true)
  if [ "$host" ]; then url="http://$host, by the gateway oneseek-sandbox"; fi
  cat <<END
== ready${url:+ at $url}

From this machine, in one terminal:
  kubectl$option -n $SYSTEM port-forward svc/sandbox-provisioner 8002:8002
and in another:
  KEY=\$(kubectl$option -n $SYSTEM get secret oneseek-sandbox-keys -o 'jsonpath={.data.backend-key}' | base64 -d)
  curl -sS http://127.0.0.1:8002/v1/sandbox/acquire -H "Authorization: Bearer \$KEY" \\
    -H 'Content-Type: application/json' -d '{"thread_id": "demo"}'

What is closed here, and what not:  oneseek-sandbox doctor --cluster
END
}
