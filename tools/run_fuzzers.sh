#!/usr/bin/env bash
# Builds the fuzzers and runs each for the given number of seconds over its corpus: tools/run_fuzzers.sh <seconds>.
set -euo pipefail
seconds=${1:?seconds for each fuzzer}
cmake --preset fuzz >/dev/null
ninja -C build/fuzz --quiet fuzzers
for fuzzer in build/fuzz/bin/*_fuzz; do
  name=$(basename "$fuzzer")
  corpus=build/fuzz/corpus/$name
  mkdir -p "$corpus"
  seeds=tests/fuzz/corpus/$name
  echo "fuzz: $name for ${seconds}s"
  if ! "$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=0 \
      -artifact_prefix="build/fuzz/$name-" "$corpus" $([ -d "$seeds" ] && echo "$seeds") > "build/fuzz/$name.log" 2>&1; then
    tail -40 "build/fuzz/$name.log"
    echo "fuzz: $name FAILED; the input is in build/fuzz/"
    exit 1
  fi
done
