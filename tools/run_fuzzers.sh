#!/usr/bin/env bash
# Builds the fuzzers and runs each for the given number of seconds: tools/run_fuzzers.sh <seconds>. Starts from the seeds
# of tests/fuzz/seeds and what earlier runs kept in build/fuzz/fuzz/<name>/corpus (tests/fuzz/README.md).
set -euo pipefail
seconds=${1:?seconds for each fuzzer}
cmake --preset fuzz >/dev/null
ninja -C build/fuzz --quiet fuzzers
symbolizer=$(command -v llvm-symbolizer-19 || true)
[ -z "$symbolizer" ] || export ASAN_SYMBOLIZER_PATH="$symbolizer"
for fuzzer in build/fuzz/bin/*_fuzz; do
  name=$(basename "$fuzzer")
  folder=build/fuzz/fuzz/$name
  log=$folder/log
  if ! "$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="$folder/" "$folder/corpus" "$folder/seeds" > "$log" 2>&1; then
    tail -40 "$log"
    echo "fuzz: $name FAILED; the input is in $folder/, the whole log is $log"
    exit 1
  fi
  inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  echo "fuzz: $name: $inputs inputs in ${seconds} s"
done
