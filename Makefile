# Creditwell. `make` lists the verbs. Needs Python 3.11 or newer and nothing else; `make demo ARGS="--seconds 60"` passes options on.

PYTHON ?=
ARGS ?=
BIN := .venv/bin
READY := .venv/ready

# Images of Python set it. Then each of our processes would compile anew all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-unit dates outside-checks chart-check check fmt bench faults up down migrate docs wheel clean
.DEFAULT_GOAL := help

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## play a video product with several teams on a real Kafka and PostgreSQL, until Ctrl-C
	@deploy/local/node.sh
	@$(BIN)/creditwell demo $(ARGS)

test: $(READY) ## run all tests, those in a browser too
	@deploy/local/browser.sh
	@deploy/local/node.sh tests/e2e/node tests/integration/schemas/asyncapi
	@$(BIN)/python -m deploy.local.servers.archive
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-unit: $(READY) ## run the unit tests: no servers, less than a minute
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=5 tests/unit $(ARGS)

dates: $(READY) ## run what speaks of the calendar when a year ends, on a leap day, when clocks change (Linux, an hour)
	@deploy/local/browser.sh
	@tests/clocks/run.sh $(ARGS)

outside-checks: $(READY) ## try what others make of ours: API clients, LiteLLM, witnesses of notes, engines for the fold, a real nginx
	@tests/outside/run.sh
	@OUTSIDE_CHECKS=1 $(BIN)/python -m pytest tests/integration/api/test_behind_a_proxy.py $(ARGS)

chart-check: ## lint and render the Helm chart, hold it to Kubernetes' own types, and let Prometheus evaluate each alert (Go)
	@cd deploy/chart/check && GOTOOLCHAIN=local go run . .. ../../monitoring values/*.yaml

check: $(READY) ## format, lint, types, imports, shell, SQL, JavaScript, generated files
	@deploy/local/check.sh

fmt: $(READY) ## write Python and JavaScript in their one format, with imports in order
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@deploy/local/node.sh deploy/local/javascript
	@deploy/local/javascript/run.sh @biomejs/biome/bin/biome check --write --log-level=error

bench: $(READY) ## measure on this machine, against a plain COPY of the same rows
	@$(BIN)/python -m tests.bench $(ARGS)

faults: $(READY) ## kill, freeze and restart everything under load, and count afterwards
	@$(BIN)/python -m tests.faults $(ARGS)

up: $(READY) ## start the stack and every process in the background; prints where they are as JSON
	@$(BIN)/python -m deploy.local up

down: $(READY) ## stop what `make up` started
	@$(BIN)/python -m deploy.local down

migrate: $(READY) ## bring the database of CREDITWELL_DATABASE to the newest schema
	@$(BIN)/creditwell migrate $(ARGS)

docs: $(READY) ## generate again what follows from the code: JSON Schemas, AsyncAPI, types of the page and of the clients, tables of docs/, dashboards
	@$(BIN)/python -m schemas.generate
	@$(BIN)/python -m services.api.openapi.typescript
	@$(BIN)/python -m services.api.openapi.python_types
	@deploy/local/node.sh deploy/local/javascript
	@deploy/local/javascript/client_types.sh
	@$(BIN)/python -m deploy.docs.page_texts
	@$(BIN)/python -m deploy.docs.generate
	@$(BIN)/python -m deploy.monitoring.dashboards

wheel: $(READY) ## build into dist/ creditwell-emitter, the two clients, creditwell-verify, and the image's bill of materials
	@for folder in emitter client verifier; do \
		"$$(deploy/local/uv.sh $(CURDIR)/$(BIN)/python)" build --quiet --wheel --python $(BIN)/python --no-build-isolation --out-dir dist deploy/$$folder || exit 1; \
	done
	@deploy/local/node.sh
	@deploy/local/npm.sh pack --silent --pack-destination dist ./deploy/client/typescript >/dev/null
	@$(BIN)/python -m deploy.sbom dist/creditwell.cdx.json
	@ls dist/*.whl dist/*.tgz dist/*.cdx.json

clean: ## stop everything that runs from this checkout and remove its state
	@if [ -e $(READY) ]; then $(BIN)/python -m deploy.local clean; fi
	@rm -rf .creditwell dist deploy/local/javascript/node_modules tests/e2e/node/node_modules tests/integration/schemas/asyncapi/node_modules tests/outside/node_modules

$(READY): requirements.lock pyproject.toml deploy/local/setup.sh
	@deploy/local/setup.sh $(PYTHON)
