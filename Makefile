# `make demo` and `make test` set up all they need: the one runs the node on sample readings, the other every check.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

MQTT_JS := tests/mqtt/js
CHAIN_JS := tests/chain/js
BLOBS_JS := tests/blobs/js
NODE_RED := tests/docs/nodered
CONSOLE_JS := tests/console/js
CONSOLE := python/edgelake/console
KAFKA := tests/kafka/java/libs/.installed
INTERPRETERS := build/interpreters/.fetched
FOREIGN := build/aarch64-root
LEDGER := python/edgelake/metadata/chain/PolicyLedger

.PHONY: help demo test lint unit bench docs site contract console pictures wheel wheels wheels-check sbom clean require test-tools release

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: require $(STAMP) ## a node with sample readings, status, two queries and a prompt (DEMO_SECONDS=n: no prompt)
	@$(VENV)/bin/edgelake demo

test: lint unit ## every check that CI runs

lint: require $(CONSOLE)/node_modules/.installed $(STAMP) ## formatters, linters, type checkers
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(PY) -m pack.licences
	$(PY) -P -m mypy.stubtest edgelake._rust edgelake._cython.rows --allowlist tests/stubtest_allowlist.txt --mypy-config-file pyproject.toml --ignore-unused-allowlist
	cd $(CONSOLE) && npx tsc
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: require test-tools $(MQTT_JS)/node_modules/.installed $(CHAIN_JS)/node_modules/.installed $(BLOBS_JS)/node_modules/.installed $(NODE_RED)/node_modules/.installed $(CONSOLE_JS)/node_modules/.installed $(CONSOLE)/node_modules/.installed $(KAFKA) $(STAMP) ## cargo test and pytest
	cargo test --workspace --locked
	$(PY) -m pytest -n auto --dist loadgroup

bench: require release ## all benchmarks, on a release build; results in bench/results/
	$(VENV)/bin/edgelake bench all

release: $(STAMP) ## release build in place
	$(VENV)/bin/maturin develop --release --skip-install --quiet
	$(PY) setup.py build_ext --inplace --quiet

docs: $(STAMP) ## the command reference, docs/commands.md; the manual page and completions of shells
	$(PY) -m edgelake.command.reference docs/commands.md
	$(VENV)/bin/edgelake man --install pack/install/data

site: $(STAMP) ## the documentation as a site, build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

contract: $(CHAIN_JS)/node_modules/.installed ## compile the Ethereum contract; its interface and bytecode are kept beside it
	node $(CHAIN_JS)/compile.mjs $(LEDGER).sol > $(LEDGER).json.new && mv $(LEDGER).json.new $(LEDGER).json

console: $(CONSOLE)/node_modules/.installed ## the web console, $(CONSOLE)/dist, which is kept in the repository
	cd $(CONSOLE) && npm run --silent build

pictures: $(CONSOLE_JS)/node_modules/.installed $(STAMP) ## the pictures of the web console, docs/images
	$(PY) -m tests.console.pictures

wheel: require $(STAMP) ## a wheel in dist/
	$(VENV)/bin/pip wheel --no-deps --wheel-dir dist .

# WHEELS="--machine x86_64 --python 3.11" makes fewer.
wheels: require $(CONSOLE)/node_modules/.installed $(INTERPRETERS) $(STAMP) ## sdist and wheels for all versions of CPython and machines, in dist/ (WHEELS=options)
	$(PY) -m pip install --quiet --group pack
	$(PY) -m pack.wheels $(WHEELS)

wheels-check: require $(INTERPRETERS) $(FOREIGN)/.unpacked $(STAMP) ## try what make wheels made: contents, size, a first answer of each
	$(PY) -m pip install --quiet --group pack
	$(PY) -m pytest --timeout 1800 -rsP tests/pack/wheel_checks.py

sbom: require $(STAMP) ## a bill of materials, build/sbom/edgelake.cdx.json (CycloneDX)
	$(PY) -m pack.sbom build/sbom/edgelake.cdx.json

clean: ## remove what was built
	rm -rf $(VENV) build dist target $(MQTT_JS)/node_modules $(CHAIN_JS)/node_modules $(BLOBS_JS)/node_modules $(NODE_RED)/node_modules $(CONSOLE_JS)/node_modules $(CONSOLE)/node_modules $(dir $(KAFKA))
	find python cython -name '*.so' -delete

# What a fresh machine may lack; each message says how to get it.
require:
	@command -v python3 >/dev/null || { echo "python3 is missing: apt-get install python3 python3-venv python3-dev"; exit 1; }
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; this is $$(python3 --version)"; exit 1; }
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	@python3 -c 'import sys, sysconfig, pathlib; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || { echo "Python.h is missing: apt-get install python3-dev"; exit 1; }
	@command -v cargo >/dev/null || { echo "A Rust toolchain (1.89 or newer) is missing: see https://rustup.rs, or apt-get install rustup"; exit 1; }
	@command -v cc >/dev/null || { echo "A C compiler is missing: apt-get install build-essential"; exit 1; }

# strace shows that no acknowledgement precedes the fsync that covers it; curl and logger run the lines of the documentation;
# mosquitto is the broker that message clients are tested with, its clients and mqtt.js (node, npm) are clients of ours;
# faketime sets the clock that a node sees; initdb stands for a PostgreSQL server.
# Apache Kafka, out of Maven and run by Java, is the broker that Kafka consumers are tested with.
# Azurite, out of npm, is the object storage of Azure that blobs are tested with.
# Node-RED, out of npm, runs the flows of its page.
# The web console is looked at in Chromium.
# zsh and fish complete the arguments of the program; man and mandoc read its manual page.
# nginx is what uploads of large files are compared with.
# Debian starts a mosquitto, an nginx and a PostgreSQL when it installs one: it is stopped again, tests start their own.
test-tools:
	@for tool in strace curl logger:bsdutils chromium mosquitto:mosquitto mosquitto_pub:mosquitto-clients node:nodejs npm faketime ip:iproute2 nginx:nginx-light initdb:postgresql java:default-jre-headless mvn:maven zsh fish man:man-db mandoc systemd-analyze:systemd; do \
	  program=$${tool%%:*} package=$${tool##*:}; \
	  PATH="$$PATH:/usr/sbin:$$(echo /usr/lib/postgresql/*/bin | tr " " :)" command -v $$program >/dev/null && continue; \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y $$package; } \
	    || { echo "$$program is missing, and a test needs it: apt-get install $$package"; exit 1; }; \
	  case $$package in mosquitto|nginx-light|postgresql) service $${package%-light} stop >/dev/null 2>&1; systemctl disable $${package%-light} >/dev/null 2>&1;; esac; true; \
	done
	@node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))' || { echo "Node.js 20 or newer is needed by tests; this is $$(node --version): apt-get install nodejs npm, or see https://nodejs.org"; exit 1; }

%/node_modules/.installed: %/package.json %/package-lock.json | test-tools
	@cd $* && npm ci --silent
	@touch $@

$(KAFKA): tests/kafka/java/pom.xml | test-tools
	@rm -rf $(dir $@) && cd tests/kafka/java && mvn --quiet --batch-mode dependency:copy-dependencies
	@touch $@

# CPython of all versions, out of Maven: headers for the Cython modules, interpreters to try wheels on.
$(INTERPRETERS): pack/interpreters.xml | test-tools
	@rm -rf $(dir $@) && mvn --quiet --batch-mode -f $< dependency:copy -Dfolder=$(abspath $(dir $@))
	@touch $@

# CPython of Debian for aarch64, which qemu runs. A machine that can't have it leaves out that one check, and says so.
$(FOREIGN)/.unpacked:
	@{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y mmdebstrap qemu-user-static \
	  && rm -rf $(dir $@) && mkdir -p $(dir $@) && mmdebstrap --quiet --mode=root --variant=extract --architectures=arm64 \
	    --include=python3,zlib1g,libssl3,libffi8,libgcc-s1,libstdc++6 bookworm $(dir $@) && touch $@; } \
	  || echo "No CPython for aarch64: that wheel is not tried (it takes Debian's mmdebstrap and qemu-user-static, as root)."

# The editable install compiles Cython and Rust; cargo and setuptools rebuild only what changed.
$(STAMP): pyproject.toml setup.py Cargo.toml Cargo.lock $(shell find rust cython bench/load -name '*.rs' -o -name '*.pyx' -o -name 'Cargo.toml')
	@test -x $(PY) || python3 -m venv $(VENV)
	@$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	@echo "Building EdgeLake and installing it into $(VENV) (a few minutes the first time) ..."
	@$(PY) -m pip install --quiet --group build --group dev
	@PATH="$(abspath $(VENV)/bin):$$PATH" $(PY) -m pip install --quiet --no-build-isolation -e '.[bench]'
	@touch $@
