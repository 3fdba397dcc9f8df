# Everything a fresh machine needs is Python 3.10, 3.11 or 3.12 and the network.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Compiled at once: TensorFlow alone takes 15 seconds to import where Python may not write its bytecode.
UV     := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
# The lock holds every version and hash; pyproject.toml says which of them each command needs.
LOCKED := --require-hashes --constraint requirements.lock

# Kudu's client is a Java library, and a Kudu of one's own needs Kudu's servers, which exist for Linux x86_64 only. Both
# are fetched once they are needed: a run without Kudu needs neither.
CLIENT := $(VENV)/.kudu-client
SERVER := $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),$(VENV)/.kudu-server)
KUDU   ?= $(IMAGEWAREHOUSE_KUDU)
ifneq (,$(filter local,$(KUDU))$(findstring --kudu local,$(ARGS))$(findstring --kudu=local,$(ARGS)))
RUN_NEEDS := $(CLIENT) $(VENV)/.kudu-server
else ifneq (,$(KUDU)$(IMAGEWAREHOUSE_KUDU_MASTERS)$(findstring --kudu,$(ARGS))$(findstring kudu.masters,$(ARGS)))
RUN_NEEDS := $(CLIENT)
endif

# What the NAR is for: the Python and the machine that NiFi runs on; VARIANT=tensorflow also serves models without LiteRT.
PYTHON_VERSION := 3.11
PLATFORM := linux-x86_64
VARIANT := core
# Clients of stores that most NiFis have no use for, such as hdfs,hbase.
STORES :=
# HEIC=no leaves out the decoder of HEIC, parts of which are under the LGPL.
HEIC := yes

.DEFAULT_GOAL := help
# Every target that `make help` lists.
.PHONY: check $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' $(MAKEFILE_LIST))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  make run ARGS='--data /srv/images'   passes options on; see $(BIN)/imagewarehouse run --help"
	@echo "  make run KUDU=local                  starts a Kudu of its own; KUDU=HOST:PORT uses yours"
	@echo "  make nar PYTHON_VERSION=3.12         also PLATFORM=linux-aarch64, VARIANT=tensorflow, HEIC=no,"
	@echo "                                       STORES=hdfs,hbase: their clients, which are not in it otherwise"

run: $(VENV)/.run $(RUN_NEEDS) ## Set everything up and start the service
	@exec $(BIN)/imagewarehouse run $(if $(KUDU),--kudu '$(KUDU)') $(ARGS)

test: check ## Set everything up, then lint, types and tests

check: $(VENV)/.dev $(CLIENT) $(SERVER) lint types
	@$(BIN)/python -m tools.artifacts solr
	$(BIN)/python -m pytest $(ARGS)

test-long: $(VENV)/.dev $(CLIENT) $(SERVER) ## The tests that take longest: kills without end, large amounts, every width (some minutes)
	@$(BIN)/python -m tools.artifacts solr
	$(BIN)/python -m pytest -m "long and not services and not sql" --ignore tests/nifi $(ARGS)

test-services: $(VENV)/.dev $(CLIENT) ## The tests on HDFS, HBase and Azurite (fetches 210 MB, needs Java 17; some minutes)
	@$(BIN)/python -m tools.artifacts services
	@! command -v npm > /dev/null || npm install --silent --no-fund --no-audit --prefix build/services/azurite azurite@3.37.0
	$(BIN)/python -m pytest -m services $(ARGS)

test-sql: $(VENV)/.dev $(CLIENT) $(SERVER) ## Analytics on Trino and Spark over Kudu (fetches 1.3 GB, needs Java 17 and 23; some minutes)
	@$(BIN)/python -m tools.artifacts sql
	@test -d build/services/spark/pyspark || $(UV) $(LOCKED) --no-deps --target build/services/spark \
	    $$(sed -n 's/^\(pyspark==[^ ]*\).*/\1/p' requirements.lock)
	$(BIN)/python -m pytest -m sql $(ARGS)

# Its own environment: it wants SQLAlchemy 1.4. 6.1.0 leaves out rich and cachetools, and does not work with flask-caching 2.5.
SUPERSET := build/services/superset
$(SUPERSET)/.installed:
	@echo "installing Superset (once, 802 MB, some minutes)..."
	@$(BIN)/python -m venv $(SUPERSET)
	@$(SUPERSET)/bin/pip install --quiet "apache-superset==6.1.0" rich cachetools "flask-caching==2.3.1" \
	    "trino[sqlalchemy]" impyla pyhive duckdb-engine gunicorn
	@touch $@

test-superset: $(VENV)/.dev $(SUPERSET)/.installed ## Import the dashboards into a Superset, draw every chart (fetches 802 MB; some minutes)
	$(BIN)/python -m pytest -m "services or sql" tests/test_superset.py tests/test_superset_sql.py $(ARGS)

bench-stores: $(VENV)/.dev ## Measure pictures into an S3 store against bare puts (about a minute)
	$(BIN)/python -m benchmarks.stores $(ARGS)

bench-packs: $(VENV)/.dev ## Measure small pictures into packs against an object each, on S3 and HDFS too (some minutes, needs Java 17)
	$(BIN)/python -m benchmarks.packs $(ARGS)

test-nifi: $(VENV)/.dev $(CLIENT) ## The tests in a real NiFi (needs NIFI_HOME; twenty minutes, six of them part of make test)
	@$(BIN)/python -m tools.artifacts solr
	$(BIN)/python -m pytest -m "not services and not sql" tests/nifi $(ARGS)

training: $(VENV)/.training ## Install what imagewarehouse train, evaluate, export and import need (once)

lint: $(VENV)/.dev ## Format, lint, generated files, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m imagewarehouse.flows.build --check
	$(BIN)/python -m tools.reference --check
	$(BIN)/python -m tools.grafana --check
	$(BIN)/python -m tools.superset --check
	$(BIN)/python -m tools.imports

types: $(VENV)/.dev $(CLIENT) $(SERVER) ## Types of all but tests and benchmarks, strictly
	$(BIN)/mypy

format: $(VENV)/.dev ## Write the code as the formatter wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(VENV)/.run ## Build the flow definition and the tables of the docs from the code
	$(BIN)/python -m imagewarehouse.flows.build
	$(BIN)/python -m tools.reference

dashboards: $(VENV)/.dev ## Write the dashboards and alerts for Grafana, the bundle for Superset
	$(BIN)/python -m tools.grafana
	$(BIN)/python -m tools.superset

kudu: $(CLIENT) ## Fetch the Kudu client
	@$(BIN)/python -m tools.artifacts kudu-client

nar: $(CLIENT) ## Pack the processors for NiFi, with all they import, into dist
	@$(BIN)/python -m tools.nar --python $(PYTHON_VERSION) --platform $(PLATFORM) --variant $(VARIANT) --stores '$(STORES)' $(if $(filter no,$(HEIC)),--no-heic) $(if $(filter nar,$(MAKECMDGOALS)),$(ARGS))

bench: $(VENV)/.dev ## Measure /classify against a plain Keras service (about five minutes)
	$(BIN)/python -m benchmarks.classify

bench-kudu: $(VENV)/.dev $(VENV)/.kudu-client $(VENV)/.kudu-server ## Measure rows into Kudu against its own load generator
	$(BIN)/python -m benchmarks.kudu $(ARGS)

bench-analytics: $(VENV)/.dev ## Measure every panel over ten million rows in DuckDB while pictures come in (2 GB of disk, some minutes)
	$(BIN)/python -m benchmarks.analytics $(ARGS)

bench-dashboard: $(VENV)/.dev ## Measure the page in Chromium over ten million rows, and until a picture moves its figures (some minutes)
	$(BIN)/python -m benchmarks.dashboard $(ARGS)

bench-analytics-kudu: $(VENV)/.dev $(VENV)/.kudu-client $(VENV)/.kudu-server ## Measure the dashboard's panels over a million rows in Kudu
	$(BIN)/python -m benchmarks.analytics_kudu $(ARGS)

bench-rows: $(VENV)/.dev ## Measure the embedded rows with a million rows in them against none (about a minute)
	$(BIN)/python -m benchmarks.rows $(ARGS)

bench-search: $(VENV)/.dev ## Measure searches among 100,000 records, in Solr and in DuckDB (some minutes, needs Java 17)
	$(BIN)/python -m benchmarks.search $(ARGS)

bench-training: $(VENV)/.dev ## Measure the convolution that is trained with against Keras' own (about five minutes)
	$(BIN)/python -m benchmarks.training $(ARGS)

bench-neighbours: $(VENV)/.training ## Measure which pictures look alike, and what knowing it costs (needs ../shared/data; five minutes)
	$(BIN)/python -m benchmarks.neighbours $(ARGS)

bench-nifi: $(VENV)/.dev nar ## Measure the flow in a real NiFi against two other designs (needs NIFI_HOME)
	$(BIN)/python -m benchmarks.nifi.throughput $(ARGS)

bench-nifi-lanes: $(VENV)/.dev nar ## Measure /classify in a real NiFi while /images is saturated (needs NIFI_HOME)
	$(BIN)/python -m benchmarks.nifi.lanes $(ARGS)

bench-nifi-index: $(VENV)/.dev nar ## Measure the flow in a real NiFi with the search index against without (needs NIFI_HOME, Java 17)
	$(BIN)/python -m benchmarks.nifi.index $(ARGS)

soak-nifi: $(VENV)/.dev nar ## 50,000 images through a real NiFi; ARGS='--mix' good and bad clients, 30 minutes (needs NIFI_HOME)
	$(BIN)/python -m benchmarks.nifi.soak $(ARGS)

mutated: $(VENV)/.dev ## Post 10,000 damaged images to the service and look at every answer (about two minutes)
	$(BIN)/python -m benchmarks.mutated $(ARGS)

bench-mischief: $(VENV)/.dev nar ## Measure what slow and broken clients cost the others, with nginx and without (needs NIFI_HOME, nginx)
	$(BIN)/python -m benchmarks.nifi.mischief $(ARGS)

bench-peers: $(VENV)/.dev ## Measure /classify beside other model servers (needs a C compiler; about twenty minutes)
	$(BIN)/python -m benchmarks.peers $(ARGS)

bench-filled: $(VENV)/.dev ## Measure the service with a million rows and objects against an empty one (4 GB, needs a C compiler)
	$(BIN)/python -m benchmarks.filled $(ARGS)

bench-check: $(VENV)/.dev ## Measure the check of an image against an older commit (ARGS="--against COMMIT")
	$(BIN)/python -m benchmarks.check $(ARGS)

bench-formats: $(VENV)/.dev ## Measure memory and time of decoding 2, 12 and 50 megapixels of each format (three minutes)
	$(BIN)/python -m benchmarks.formats $(ARGS)

collections: $(VENV)/.dev ## Hold real image files against ImageMagick; ARGS='FOLDER...' (Debian: imagemagick, libvips-tools)
	$(BIN)/python -m benchmarks.collections $(ARGS)

soak: $(VENV)/.dev ## Watch the memory over 20,000 requests (about a minute)
	$(BIN)/python -m benchmarks.soak

lock: $(BIN)/uv ## Renew requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.10 --generate-hashes --all-extras --no-emit-index-url \
	    --no-annotate --no-header --quiet --upgrade pyproject.toml --output-file requirements.lock

clean: ## Remove what set-up and tests have made, not the data
	rm -rf $(VENV) build dist imagewarehouse/kudu/jars *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/uv: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 13) else "Python 3.10, 3.11 or 3.12 is needed, this is " + sys.version.split()[0] + "; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@grep -A 40 '^uv==' requirements.lock | awk 'NR > 1 && !/^ / { exit } { print }' > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@touch $@

$(VENV)/.run: $(BIN)/uv pyproject.toml requirements.lock
	@echo "installing (once)..."
	@$(UV) $(LOCKED) -r pyproject.toml
	@$(UV) --no-deps --build-constraints requirements.lock --editable .
	@touch $@

$(VENV)/.training: $(VENV)/.run
	@echo "installing TensorFlow and what else training needs (once, some minutes)..."
	@$(UV) $(LOCKED) -r pyproject.toml --extra training
	@touch $@

$(VENV)/.dev: $(VENV)/.training
	@echo "installing test tools (once)..."
	@$(UV) $(LOCKED) -r pyproject.toml --extra dev --extra training --extra hdfs --extra hbase --extra impala --extra trino
	@touch $@

# The folder too: its time changes when a source is removed.
$(CLIENT): $(VENV)/.run tools/artifacts.lock $(shell find imagewarehouse/kudu/java -name '*.java' -o -type d)
	@$(UV) $(LOCKED) -r pyproject.toml --extra kudu
	@$(BIN)/python -m tools.artifacts java > /dev/null 2>&1 || { echo "installing a Java runtime (once)..." && \
	    $(UV) $(LOCKED) -r pyproject.toml --extra java; }
	@$(BIN)/python -m tools.artifacts kudu-client
	@touch $@

$(VENV)/.kudu-server: $(CLIENT) tools/artifacts.lock
	@$(BIN)/python -m tools.artifacts kudu-server
	@touch $@

# What the stamps stand for can be removed without them.
.PHONY: $(if $(wildcard imagewarehouse/kudu/jars/kudu-client-*.jar),,$(CLIENT))
.PHONY: $(if $(wildcard build/kudu/bin/kudu-master),,$(VENV)/.kudu-server)
