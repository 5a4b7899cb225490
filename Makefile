# Everything happens in a private environment below this directory; nothing needs root.
# Paths are relative, so that a checkout may lie anywhere, also where a name has spaces.

VENV := .venv
PY := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test coverage check lint types imports bench faults soak e2e e2e-faults docker image release deploy undeploy lock clean

help:  ## list the targets
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/run.stamp  ## serve at 127.0.0.1:8002 (PORT, PROVISIONER_API_KEY, PROVISIONER_HOME; EXTRAS="mcp docker" installs these first)
	@$(if $(EXTRAS),$(INSTALL_EXTRAS))
	@exec $(PY) -m oneseek_sandbox.cli serve

test: $(VENV)/dev.stamp  ## run the tests, four files at a time (WORKERS=2: two; ARGS="-k acquire": some, one by one)
	@$(PY) -m pytest $(IN_WORKERS) $(MEASURED) $(ARGS)

coverage: $(VENV)/dev.stamp  ## run the tests; 90 % of the lines of guest/ and of leases/ must run
	@rm -rf build/coverage && mkdir -p build/coverage/lines
	@$(COVERAGE) ONESEEK_LINES_FOLDER="$(CURDIR)/build/coverage/lines" $(MAKE) --no-print-directory test \
	  MEASURED="--cov=shared/oneseek_sandbox/guest --cov=shared/oneseek_sandbox/leases --cov-report="
	@$(PY) -m tests.guest.lines build/coverage/data build/coverage/lines
	@for folder in guest leases; do \
	  $(COVERAGE) $(PY) -m coverage report --skip-covered --include="*/$$folder/*" --fail-under=90 || exit; \
	done

check: lint types imports  ## lint, format, types and import rules

lint: $(VENV)/dev.stamp
	$(PY) -m ruff check
	$(PY) -m ruff format --check

types: $(VENV)/dev.stamp
	$(PY) -m mypy
	$(PY) -m mypy --python-version 3.10 shared/oneseek_sandbox/guest

imports: $(VENV)/dev.stamp
	@$(PY) -c 'from importlinter.cli import lint_imports_command as lint; lint()'

bench: $(VENV)/dev.stamp  ## measure, and print the aims beside the figures (ON=hops, ON=backend, ON=cluster: others)
	@$(PY) bench/$(or $(ON),run).py $(ARGS)

faults: $(VENV)/dev.stamp  ## run everything under faults (ONESEEK_FAULTS_SIMULATED: so many schedules; ONESEEK_FUZZ: so many times as much)
	@$(PY) -m pytest -m faults $(IN_WORKERS) tests/faults tests/fuzz tests/contracts $(ARGS)

soak: $(VENV)/dev.stamp  ## let 1 000 threads come and go for 30 minutes (ARGS="--minutes 5 --threads 300")
	@$(PY) -m tests.faults.live.soak $(ARGS)

e2e: $(VENV)/dev.stamp  ## run the tests that need a cluster and a deployment on it (KUBECONFIG)
	@$(PY) -m pytest -m e2e tests/kubernetes tests/e2e tests/manifests $(ARGS)

e2e-faults: $(VENV)/dev.stamp  ## run seeded faults on a deployment, as root on its node (ARGS="--count 200")
	@$(PY) -m tests.faults.deployed $(ARGS)

docker: $(VENV)/dev.stamp  ## run the tests that need a Docker engine (DOCKER_HOST, ONESEEK_E2E_SANDBOX_IMAGE)
	@$(PY) -m pytest -m docker tests/docker tests/client $(ARGS)

image:  ## build the functions' image (IMAGE=name:tag) with docker, podman or buildah
	@tools/build-image $(IMAGE)

release: $(VENV)/dev.stamp  ## build the wheel, the image (IMAGE=name:tag), what they hold, and hashes, in dist/
	@PYTHON=$(PY) tools/release $(IMAGE)

deploy:  ## deploy to the cluster of KUBECONFIG (OVERLAY=local, CONTEXT, IMAGE; see tools/deploy)
	@tools/deploy $(or $(OVERLAY),local)

undeploy:  ## remove it from that cluster, with everything in it
	@tools/undeploy

lock:  ## write requirements/*.txt anew (needs uv)
	$(LOCK) --output-file requirements/run.txt
	$(LOCK) --extra telemetry --constraint requirements/run.txt \
	  $$(sed -n '/^opentelemetry/d; s/^\([a-z0-9._-]*\)[=[].*/--no-emit-package \1/p' requirements/run.txt) \
	  --output-file requirements/telemetry.txt
	$(LOCK) --extra telemetry --group dev --output-file requirements/dev.txt

clean:  ## remove the environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A file's tests share servers, and stay together.
WORKERS ?= $(if $(ARGS),,4)
IN_WORKERS = $(if $(WORKERS),--numprocesses $(WORKERS) --dist loadfile)
COVERAGE = COVERAGE_FILE="$(CURDIR)/build/coverage/data"

LOCK := uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

# The lists are complete, so nothing is resolved. Bytecode of all of it takes half of the time, and most
# is never used: Python writes what it needs at the first import, unless it is told not to.
INSTALL := $(PY) -m pip install --quiet --require-hashes --no-deps $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)

# What an extra names in pyproject.toml, at the locked versions; never the package itself, which
# would hide this checkout.
INSTALL_EXTRAS = parts=$$($(PY) -c "$$NAME_EXTRAS" $(EXTRAS)) && \
	sed 's/\[[^]]*\]//; s/ *\\$$//; /^ *--hash/d' requirements/dev.txt >$(VENV)/constraints.txt && \
	printf '%s\n' "$$parts" | $(PY) -m pip install --quiet --constraint $(VENV)/constraints.txt -r /dev/stdin

# A stamp is younger than the requirements that are installed. dev holds all that run holds.
$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/python.stamp
	@echo "installing requirements/dev.txt into $(VENV)"
	@$(INSTALL) -r requirements/dev.txt
	@touch $@ $(VENV)/run.stamp

$(VENV)/run.stamp: requirements/run.txt $(VENV)/python.stamp
	@echo "installing requirements/run.txt into $(VENV)"
	@$(INSTALL) -r requirements/run.txt
	@touch $@

$(VENV)/python.stamp: Makefile
	@$(PY) -c "$$IS_USABLE" 2>/dev/null || { $(FIND_PYTHON); $(MAKE_VENV); }
	@$(PY) -c "$$LINK_PACKAGE"
	@touch $@

define IS_USABLE
import pip, sys
sys.exit(sys.version_info < (3, 11))
endef
export IS_USABLE

define FIND_PYTHON
for python in "$$PYTHON" python3.14 python3.13 python3.12 python3.11 python3 ''; do \
  if test -z "$$python"; then continue; fi; \
  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
done; \
if test -z "$$python"; then \
  echo 'No Python 3.11 or newer on PATH. Install one (apt-get install python3), or name it: make PYTHON=/path/to/python3' >&2; \
  exit 1; \
fi
endef

# Debian keeps ensurepip in a package of its own; a pip or a uv of the system does as well.
define MAKE_VENV
rm -rf $(VENV); \
if "$$python" -m venv $(VENV) >/dev/null 2>&1; then exit 0; fi; \
rm -rf $(VENV); \
if "$$python" -m venv --without-pip $(VENV) && \
   "$$python" -m pip --python $(VENV) install --quiet pip 2>/dev/null; then exit 0; fi; \
rm -rf $(VENV); \
if uv venv --quiet --seed --python "$$python" $(VENV) 2>/dev/null; then exit 0; fi; \
rm -rf $(VENV); \
echo "$$python cannot make an environment: it has neither ensurepip nor pip." >&2; \
echo "Run this once, then make again:  sudo apt-get install -y python3-venv" >&2; \
exit 1
endef

define NAME_EXTRAS
import sys, tomllib
extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]
unknown = set(sys.argv[1:]) - set(extras)
if unknown:
    sys.exit(f"No such extra: {', '.join(sorted(unknown))}. There are: {', '.join(sorted(extras))}")
print("\n".join(part for name in sys.argv[1:] for part in extras[name]))
endef
export NAME_EXTRAS

# Relative to site-packages, so that the checkout may be moved; no build tools are needed.
define LINK_PACKAGE
import pathlib, sysconfig
site = pathlib.Path(sysconfig.get_path("purelib"))
(site / "oneseek_sandbox.pth").write_text("../../../../shared\n")
command = pathlib.Path("$(VENV)/bin/oneseek-sandbox")
command.write_text('#!/bin/sh\nexec "$${0%/*}/python" -m oneseek_sandbox.cli "$$@"\n')
command.chmod(0o755)
endef
export LINK_PACKAGE
