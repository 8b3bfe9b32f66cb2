# One gate, the same at home and in CI: `make check`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# The tests run several processes; each needs only one thread.
TEST_ENV := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test test-web docs check format lint types bench-all bench-trial wheel-check test-lowest audit sbom clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.core: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing openmer into $(VENV) ..."
	$(PIP_INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Installing the development tools into $(VENV) ..."
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.web: $(VENV)/.dev
	@echo "Installing the web page and Playwright into $(VENV) ..."
	$(PIP_INSTALL) -e '.[dev,web]' playwright
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	@echo "Installing the documentation's tools into $(VENV) ..."
	$(PIP_INSTALL) -e '.[dev,docs]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@echo "Installing what the benchmarks need into $(VENV) ..."
	$(PIP_INSTALL) -e '.[dev,web,cluster]' playwright
	@touch $@

demo: $(VENV)/.core ## analyse a real talking-head video; prints where the report is
	$(BIN)/openmer demo --overwrite

# `make test-web` runs these; without the extra `web` they would be skipped here anyway.
WEB_TESTS := tests/test_serve.py tests/test_web.py tests/test_review_page.py

test: $(VENV)/.dev ## run the tests, except those of the web page
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist worksteal $(addprefix --ignore=,$(WEB_TESTS))

test-web: $(VENV)/.web ## the web page's tests, in a browser; as root it installs Debian's chromium
	@command -v chromium >/dev/null || test "$$(id -u)" != 0 || (apt-get update -qq && apt-get install -y -qq chromium)
	$(TEST_ENV) $(BIN)/python -m pytest -rs $(WEB_TESTS)

# The variable silences the theme's notice that it is maintained until May 2027.
docs: $(VENV)/.docs ## the documentation as a site in site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@! grep -rlE '<(script|link|img|iframe)[^>]* (src|href)="(https?:)?//' site --include='*.html' || \
		(echo "these pages load something from elsewhere"; false)
	@echo "built; look at it with: $(BIN)/python -m http.server --directory site"

check: format-check lint types test ## format, lint, types and tests: the gate

format: $(VENV)/.dev ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: format-check
format-check: $(VENV)/.dev
	$(BIN)/ruff format --check .

lint: $(VENV)/.dev ## ruff
	$(BIN)/ruff check .

types: $(VENV)/.dev ## mypy, strict on src
	$(BIN)/mypy

bench-all: $(VENV)/.bench ## rerun the figures that the documents quote: the next part, or PART=NAME, within two hours
	$(BIN)/python benchmarks/all.py $(if $(PART),--part $(PART))

.PHONY: bench-list
bench-list: $(VENV)/.bench ## the parts of bench-all, and which are done
	$(BIN)/python benchmarks/all.py --list

bench-trial: $(VENV)/.bench ## run every benchmark as small as can be, to see that it runs (some minutes)
	$(BIN)/python benchmarks/all.py --trial

wheel-check: ## build the wheel, install it alone outside of the checkout, use it
	$(PYTHON) tools/check_wheel.py

LOWEST := .venv-lowest
test-lowest: ## the tests with the lowest versions that pyproject allows
	@test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e '.[dev]'
	$(TEST_ENV) $(LOWEST)/bin/python -m pytest -n 2 --dist worksteal

audit: $(VENV)/.core ## known vulnerabilities of what is installed; asks a server of advisories
	@test -x .venv-audit/bin/pip-audit || ($(PYTHON) -m venv .venv-audit && .venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit)
	.venv-audit/bin/pip-audit --skip-editable --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

sbom: $(VENV)/.core ## what is installed, with versions and licences, as CycloneDX in sbom.json
	@test -x .venv-sbom/bin/cyclonedx-py || ($(PYTHON) -m venv .venv-sbom && .venv-sbom/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom)
	.venv-sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type library --output-reproducible -o sbom.json $(BIN)/python

clean: ## remove the virtual environment and what tools left behind
	rm -rf $(VENV) .venv-lowest .venv-audit .venv-sbom sbom.json .mypy_cache .ruff_cache .pytest_cache build dist site openmer-demo
