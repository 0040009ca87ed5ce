# Cairn: everything a person runs. Details: README.md, docs/testing.md.
SHELL := /bin/bash
JOBS ?= $(shell nproc)
VM_KERNEL ?= all
SOAK_MINUTES ?= 60

.PHONY: help packages build demo test sanitize tsan fuzz bench soak soak-cluster format tidy clean

help:
	@echo "make demo      build, then show a volume of three copies under a Linux kernel, an engine killed"
	@echo "make test      build, then run the suite: unit, model, simulation, process, volume, kernel, fuzz (short)"
	@echo "make sanitize  the suite under ASan+UBSan; make tsan: the thread-crossing tests under TSan"
	@echo "make bench     benchmarks, printed as ratios"
	@echo "make soak      longer runs of everything random (SOAK_MINUTES=$(SOAK_MINUTES))"
	@echo "make soak-cluster  100,000 seeds of the cluster simulation; goes on where it was stopped"
	@echo "make format    clang-format over the tree; make tidy: clang-tidy"

packages:
	@tools/install_packages.sh tools/packages.txt tests/vm/packages.txt

build: packages
	@cmake --preset release >/dev/null
	@ninja -C build/release -j $(JOBS) --quiet

demo: build
	@python3 tests/vm/demo.py --engine build/release/bin/io-engine --client build/release/bin/io-engine-client

test: build
	@tools/run_suite.sh release
	@tools/run_fuzzers.sh 10
	@python3 tests/e2e/volumes/run.py --quick --bin build/release/bin
	@python3 tests/vm/run.py --kernel $(VM_KERNEL) --quick --engine build/release/bin/io-engine --client build/release/bin/io-engine-client

sanitize: packages
	@cmake --preset asan >/dev/null
	@ninja -C build/asan -j $(JOBS) --quiet
	@tools/run_suite.sh asan

tsan: packages
	@cmake --preset tsan >/dev/null
	@ninja -C build/tsan -j $(JOBS) --quiet tsan_tests
	@tools/run_suite.sh tsan --label threads

fuzz: packages
	@tools/run_fuzzers.sh $(or $(FUZZ_SECONDS),60)

bench: build
	@python3 tests/bench/run.py --bin build/release/bin

soak: build
	@SOAK_MINUTES=$(SOAK_MINUTES) tools/soak.sh

soak-cluster: build
	@tools/soak_cluster.sh

format:
	@git ls-files '*.h' '*.cc' | xargs clang-format-19 -i

tidy: build
	@git ls-files 'src/*.cc' | grep -v _test.cc | xargs -P $(JOBS) -n 4 clang-tidy-19 -p build/release --quiet

clean:
	rm -rf build
