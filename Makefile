# Two commands matter: `go run ./cmd/rollcall demo`, and `make test`, which sets up
# what is missing and runs everything.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME   ?= 20000x
# How much make chaos does; SEED chooses another run of bad luck.
MESSAGES   ?= 100000
PAIRS      ?= 10000
CUTS       ?= 100
RESUMPTIONS ?= 1000
SEED       ?= 3

.PHONY: test setup check unit cross fuzz clients tsung chaos nodes bench bench-compare performance million slow smack-integration

test: setup check unit cross fuzz clients
	@echo "all tests passed"

# What the tests with real clients need: nginx, node, python, Java, chromium and their
# packages.
setup:
	./scripts/setup

check:
	test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	go vet -tags clients ./test/...
	go run $(STATICCHECK) -tags clients ./...

unit:
	go test -race ./...
	go test -run Allocation ./internal/... ./server/...

# The demo must run on a colleague's laptop, whatever it is.
cross:
	@for os in linux darwin windows; do for arch in amd64 arm64; do \
		echo "build $$os/$$arch"; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch go build -o /dev/null ./cmd/rollcall || exit 1; \
	done; done

# Every fuzz target for a moment; go test fuzzes one target at a time.
fuzz:
	./scripts/fuzz $(FUZZTIME)

# slixmpp and Smack over TCP, Smack's own integration tests, strophe.js and the demo page
# in chromium, also through nginx; tsung.
clients:
	go test -race -count=1 -tags clients -v -timeout 30m -run 'TestSlixmpp|TestSmack|TestStrophe|TestDemoPage|TestNginx' ./test
	go test -count=1 -parallel 4 -tags clients -v -run 'TestTsung|TestWorktile' ./test/tsung

# tsung's own scenarios with their own pauses, and deploy/tsung/worktile.xml as it is: a
# quarter of an hour. clients has short ones.
tsung:
	go test -count=1 -parallel 6 -tags clients -v -timeout 60m -run 'TestTsung|TestWorktile' ./test/tsung -full

# Smack's own integration tests alone; SMACK_REPORT is where the result of each of them,
# also of those that need not pass, goes.
SMACK_REPORT ?= smack-integration.txt
smack-integration:
	ROLLCALL_SMACK_REPORT=$(abspath $(SMACK_REPORT)) go test -count=1 -tags clients -v -run 'TestSmackIntegration$$' ./test

# The long runs on networks that do everything wrong; unit has short ones.
chaos:
	go test -count=1 -v -timeout 90m ./test/chaos -seed $(SEED) -messages $(MESSAGES) -pairs $(PAIRS) -cuts $(CUTS) -resumptions $(RESUMPTIONS)

# Several processes on one Redis at full size: killed, flushed, stalled, and the random
# runs of some seeds. It takes about 15 minutes.
SEEDS ?= 1 2 3 4 5 6 7 8 9 10
nodes:
	go test -count=1 -v -timeout 30m -run 'TestKill|TestFlush|Stall|TestMessages|TestPublishes' ./test/nodes \
		-killed 5000 -lease 30s -flushed 2000 -stall 30s -messages 100000 -project 1000
	go test -count=1 -v -timeout 30m -run TestResumptionAnywhere ./test/nodes -resumptions $(RESUMPTIONS) -seed $(SEED)
	@for seed in $(SEEDS); do go test -count=1 -v -run TestProperty ./test/nodes -seed $$seed || exit 1; done

# The Go benchmarks, written to a file that make bench-compare compares with the stored
# baseline; make bench BENCH=test/performance/baseline.txt stores another one.
BENCH ?= bench.txt
BENCHSTAT = golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
bench:
	./scripts/bench $(BENCH)

bench-compare:
	go run $(BENCHSTAT) test/performance/baseline.txt $(BENCH)

# Where each KB and each microsecond goes in the real server: the tables of
# docs/performance.md. It takes about ten minutes; PERFORMANCE has further flags.
performance:
	go run ./test/performance all $(PERFORMANCE)

# A million sessions in one process; it takes some minutes and 3 GB.
million:
	go test -run '^$$' -bench Million -benchtime 200x -timeout 30m ./test/performance -population 1000000

# People who do not read, among many who do; unit has a small run.
slow:
	go test -count=1 -v -parallel 1 -run TestSlowReaders -timeout 30m ./test/performance -people 1000 -load 8s
