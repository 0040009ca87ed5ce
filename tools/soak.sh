#!/usr/bin/env bash
# Longer runs of everything random, within SOAK_MINUTES (60): simulated sites and clusters with many seeds, fuzzers, processes with
# many hosts, a volume under a hundred random faults, the kernel ring. What has no time left is skipped and said so. Ends with a summary; fails if anything did.
# Logs: build/soak. Needs build/release.
set -uo pipefail
cd "$(dirname "$0")/.."
minutes=${SOAK_MINUTES:-60}
start=$(date +%s)
end=$((start + minutes * 60))
logs=build/soak
mkdir -p "$logs"
summary=()
failed=0

left() { echo $((end - $(date +%s))); }

# run <name> <least seconds it needs> <seconds it may take> <command...>: at most so long, and never beyond the end.
run() {
  local name=$1 least=$2 limit=$3 begin result
  shift 3
  [ "$limit" -le "$(left)" ] || limit=$(left)
  if [ "$limit" -lt "$least" ]; then
    summary+=("skipped  $name (needs ${least} s, ${limit} s are left)")
    return
  fi
  begin=$(date +%s)
  echo "soak: $name, at most ${limit} s"
  timeout --signal=INT --kill-after=20 "$limit" "$@" > "$logs/$name.log" 2>&1
  result=$?
  case $result in
    0) summary+=("passed   $name in $(($(date +%s) - begin)) s") ;;
    124 | 137) summary+=("FAILED   $name: not at its end after ${limit} s; see $logs/$name.log"); failed=1 ;;
    *) summary+=("FAILED   $name (status $result); see $logs/$name.log"); tail -20 "$logs/$name.log"; failed=1 ;;
  esac
}

# Programs, and which of their tests take seeds.
simulated=('target_sim_test:*Sim.*' 'initiator_sim_test:*' 'pool_model_test:*'
  'nexus_fault_sim_test:-*Equal*')

# simulate <seconds>: seed after seed, in portions, until the time is over. Every run of this script tries others.
simulate() {
  local until=$(($(date +%s) + $1)) seed portion=5 begin=$(($(date +%s) % 1000000 * 1000))
  [ "$until" -le "$end" ] || until=$end
  local count=0 result
  for ((seed = begin; $(date +%s) + 1 < until; seed += portion)); do
    local seeds=(CAIRN_SIM_FIRST_SEED=$seed CAIRN_SIM_SEEDS=$portion
      CAIRN_POOL_MODEL_FIRST_SEED=$seed CAIRN_POOL_MODEL_SEEDS=$portion)
    for test in "${simulated[@]}"; do
      env "${seeds[@]}" timeout $((until - $(date +%s))) \
        "build/release/bin/${test%%:*}" --gtest_filter="${test#*:}" --gtest_brief=1 > "$logs/simulation.log" 2>&1
      result=$?
      [ $result -ne 124 ] || break 2  # cut off by the time
      if [ $result -ne 0 ]; then
        summary+=("FAILED   ${test%%:*}; ${seeds[*]}, see $logs/simulation.log")
        tail -20 "$logs/simulation.log"
        failed=1
        return
      fi
    done
    count=$((count + portion))
  done
  if [ "$count" -eq 0 ]; then
    summary+=("FAILED   simulation: not one portion of $portion seeds in $1 s")
    failed=1
  else
    summary+=("passed   simulation, $count seeds of every test from $begin on")
  fi
}

share=$((minutes * 60 / 4))
echo "soak: $minutes minutes, a quarter of it for simulation, a quarter for fuzzers"
simulate "$share"

# Whole clusters; what is left of 100,000 seeds is for the next time.
run cluster 300 $((share + 300)) tools/soak_cluster.sh "$share"

# One pool that lives long.
run pool_model 300 1200 env CAIRN_POOL_MODEL_FIRST_SEED=$((RANDOM + 1)) CAIRN_POOL_MODEL_SEEDS=1 \
  CAIRN_POOL_MODEL_OPERATIONS=100000 build/release/bin/pool_model_test --gtest_brief=1

num_fuzzers=$(grep -c '^cairn_fuzzer(' tests/fuzz/CMakeLists.txt)
each=$((share / num_fuzzers))
[ "$each" -ge 5 ] || each=5
# The build comes on top.
run fuzzers 60 $((share + 900)) tools/run_fuzzers.sh "$each"

if [ -f tests/e2e/many_hosts_test.py ]; then
  CAIRN_BIN=$PWD/build/release/bin run many_hosts 300 900 env -C tests/e2e python3 -B many_hosts_test.py --full
fi
run volumes 1200 2700 python3 -B tests/e2e/volumes/run.py --random 100 --bin build/release/bin
if [ -f tests/vm/run.py ]; then
  run kernels 300 "$(left)" python3 tests/vm/run.py --kernel all \
    --engine build/release/bin/io-engine --client build/release/bin/io-engine-client
fi
# What time remains goes to the simulator.
[ "$(left)" -lt 60 ] || simulate "$(left)"

echo "soak: $(($(date +%s) - start)) s"
printf 'soak: %s\n' "${summary[@]}"
exit $failed
