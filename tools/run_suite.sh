#!/usr/bin/env bash
# Runs the tests of one preset with ctest: tools/run_suite.sh <preset> [--label <regex>]. Two at a time: some start threads of their own.
set -euo pipefail
preset=$1
shift
filter=()
while [ $# -gt 0 ]; do
  case $1 in
    --label) filter=(-L "$2"); shift 2 ;;
    *) echo "unknown argument: $1" >&2; exit 2 ;;
  esac
done
export ASAN_OPTIONS="detect_stack_use_after_return=0:strict_string_checks=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:${TSAN_OPTIONS:-}"
symbolizer=$(command -v llvm-symbolizer-19 || true)
[ -z "$symbolizer" ] || export ASAN_SYMBOLIZER_PATH="$symbolizer" TSAN_SYMBOLIZER_PATH="$symbolizer"
exec ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j 2 "${filter[@]}"
