#!/bin/bash
# Inspect's mock model downloads a vocabulary: without the internet an eval with it fails.
#
# One would expect:  `mockllm/model` answers with the outputs that it was given, anywhere: it is there
#   for tests and calls no model.
# What happens:  of an output without `usage` it counts the tokens, by tiktoken, whose vocabulary is
#   fetched from a host of OpenAI at its first use and kept in the temporary folder. Where that host is not
#   reached the eval ends with status `error`. Its default output is of this kind, and so is what
#   ModelOutput.from_content() and for_tool_call() make.
# Version:  inspect-ai 0.3.285, tiktoken 0.14.0.
# Matters to:  tests of tasks, tools and sandboxes in CI without a way out, or with a proxy that
#   allows package indexes only; on a laptop that has run one before they pass. Set
#   `output.usage = ModelUsage()`, or have the vocabulary in TIKTOKEN_CACHE_DIR.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile inspect-ai==0.3.285 tiktoken==0.14.0
cd "$work"

cat >see.py <<'EOF'
import importlib.metadata
import sys

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model

versions = {name: importlib.metadata.version(name) for name in ("inspect-ai", "tiktoken")}
print(*(f"{name} {version}" for name, version in versions.items()))


def outcome(name, **arguments):
    model = get_model("mockllm/model", **arguments)
    (log,) = eval(Task(dataset=[Sample("Hello?")]), model=model, log_dir="logs", display="none")
    asked = log.error is not None and "o200k_base.tiktoken" in log.error.message
    print(f"{name}:  {log.status}{', as o200k_base.tiktoken could not be fetched' if asked else ''}")
    return log.status, asked


counted = ModelOutput.from_content("mockllm/model", "Hello!")
counted.usage = ModelUsage()
seen = [
    outcome("default output"),
    outcome("output without usage", custom_outputs=[ModelOutput.from_content("mockllm/model", "Hello!")]),
    outcome("output with usage", custom_outputs=[counted]),
]
if seen != [("error", True), ("error", True), ("success", False)]:
    sys.exit("not seen: the behaviour has changed")
EOF
# No way out, as in many a CI: nobody listens on that port. No cache of earlier runs either.
export http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 TIKTOKEN_CACHE_DIR=$work/cache
"$work/venv/bin/python" see.py 2>/dev/null
