# Each target sets up what it needs: `make demo` and `make test` work alone on a clean clone.
.DEFAULT_GOAL := help
.PHONY: help setup build check format test-unit test fuzz soak demo demo-picture dial-plans bench bench-parse bench-steps bench-ingest bench-latency bench-delivery bench-readers bench-codecs bench-merges bench-query bench-growth bench-retention bench-capacity bench-report clean
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory --silent
SHELL := /bin/sh

# The build of node-rdkafka breaks when it runs in parallel: see deploy/install-packages.sh.
unexport JOBS

BIN := node_modules/.bin

help: ## this list
	printf 'targets:\n'
	sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  make %-13s %s\n' "$$name" "$$text"; done

setup: ## install what is missing: system packages (Debian), npm packages by the lockfile
	deploy/install-prerequisites.sh
	deploy/install-packages.sh

build: setup ## compile to dist/
	printf 'build\n'
	deploy/build-native.sh
	deploy/remove-stale-output.sh
	$(BIN)/tsc -p tsconfig.json
	node dist/deploy/settings-validator.js
	for source in ingest/parse/*.wat; do \
		[ -f "$$source" ] || continue; \
		target="dist/$${source%.wat}.wasm"; \
		[ "$$target" -nt "$$source" ] || $(BIN)/wat2wasm "$$source" -o "$$target" || exit 1; \
	done
	[ ! -f dist/cli.js ] || chmod +x dist/cli.js

check: setup ## formatting, lint and types
	printf 'check: prettier\n'
	$(BIN)/prettier --log-level warn --check . || { printf 'make format puts it right\n'; exit 1; }
	printf 'check: oxlint\n'
	$(BIN)/oxlint --type-aware --deny-warnings
	printf 'check: tsc\n'
	$(BIN)/tsc -p tsconfig.json --noEmit --tsBuildInfoFile dist/.check.tsbuildinfo

format: setup ## rewrite all files in the project's format
	$(BIN)/prettier --log-level warn --write .

test-unit: build ## tests that need no server; FILES="dist/test/..." for some of them
	node dist/test/run.js --unit $(FILES)

test: build check ## all tests against real Kafka and ClickHouse; FILES="dist/test/..." for some of them
	deploy/fetch-prometheus.sh
	node dist/test/run.js $(FILES)

fuzz: build ## generated and broken lines of every format, read in several ways and compared; SECONDS=60 SEED=1
	node dist/test/fuzz/main.js --seconds $(or $(SECONDS),60) --seed $(or $(SEED),$$(date +%s))

soak: build ## steady load while processes are killed at random, then equal sets; MINUTES=10 SEED=1 RATE=2000
	node dist/test/fault/soak.js --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) --rate $(or $(RATE),2000)

demo: build ## the whole pipeline on this machine until Ctrl-C; SECONDS=20 ends by itself
	exec node dist/cli.js demo $(if $(SECONDS),--seconds $(SECONDS))

demo-picture: build ## docs/demo.svg anew from a run of the demo
	node dist/deploy/demo-picture.js

bench: build ## how fast, against whom, and whether a record is lost (12 to 15 minutes); OPTIONS="--outside '...'" for a tool of yours
	status=0; \
	node dist/bench/parse.js --rounds 5 || status=1; \
	node dist/bench/steps.js --records 1000000 --rounds 1 || status=1; \
	node dist/bench/ingest.js --records 1000000 $(OPTIONS) || status=1; \
	node dist/bench/latency.js --seconds 10 $(OPTIONS) || status=1; \
	node dist/bench/delivery.js $(OPTIONS) || status=1; \
	node dist/bench/query.js --calls 2000000 --alone --rounds 2 --seconds 2 --warm-up-seconds 4 || status=1; \
	node dist/bench/retention.js --calls 1000000 || status=1; \
	node dist/bench/report.js || status=1; \
	exit $$status

bench-parse: build ## CPU per record of one parse worker by format; OPTIONS="--records 100000 --rounds 9 --formats 3cx,delimited"
	node dist/bench/parse.js $(OPTIONS)

bench-steps: build ## CPU per record of each step; OPTIONS="--records 3000000 --rounds 2"
	node dist/bench/steps.js $(OPTIONS)

bench-ingest: build ## Kafka to ClickHouse beside peers and the floor; OPTIONS="--records 3000000 --rounds 5 --all-rounds --cases packed,single"
	node dist/bench/ingest.js $(OPTIONS)

bench-latency: build ## Kafka timestamp to queryable at a steady rate; OPTIONS="--rate 5000 --seconds 30 --flush-interval-ms 1000"
	node dist/bench/latency.js $(OPTIONS)

bench-delivery: build ## what is lost, twice or altered after kill -9 and with 1 % bad input; OPTIONS="--records 100000 --packing single"
	node dist/bench/delivery.js $(OPTIONS)

bench-readers: build ## CPU of ingest with the native addon and without; OPTIONS="--records 300000 --rounds 3"
	node dist/bench/readers.js $(OPTIONS)

bench-codecs: build ## what the compression of the call tables costs, beside other codecs; OPTIONS="--records 1500000 --rounds 2"
	node dist/bench/codecs.js $(OPTIONS)

bench-merges: build ## how often calls are merged that come as they come, with other settings of merges beside (7 minutes); OPTIONS="--rate 1000 --seconds 120"
	node dist/bench/merges.js $(OPTIONS)

bench-query: build ## the API on 50 million calls, beside a tenth of them (11 minutes, 5 GB); OPTIONS="--calls 5000000"
	node dist/bench/query.js $(OPTIONS)

bench-growth: build ## what grows with 1, 5, 20 and 50 million stored calls (9 minutes, 8 GB); OPTIONS="--calls 1000000,5000000"
	node dist/bench/growth.js $(OPTIONS)

bench-retention: build ## a sweep of one month and an erasure of one number among 50 million calls (6 minutes, 10 GB); OPTIONS="--calls 5000000"
	node dist/bench/retention.js $(OPTIONS)

bench-capacity: build ## a day of a million calls against what the other results foretell; writes the tables of docs/capacity.md; OPTIONS="--write-only"
	node dist/bench/capacity.js $(OPTIONS)

bench-report: build ## the results as a summary and as bench/results/report.html
	node dist/bench/report.js

dial-plans: build ## schemas/dial-plans.ts anew from the installed libphonenumber-js
	node dist/deploy/dial-plans/main.js
	$(BIN)/prettier --log-level warn --write schemas/dial-plans.ts

clean: ## remove what was built; packages and downloads stay
	rm -rf dist .tap
