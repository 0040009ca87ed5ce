#!/usr/bin/env bash
# The cluster simulation over many seeds: tools/soak_cluster.sh [<seconds> [<seeds>]]. Goes on where it was stopped, until all
# seeds from 1 to <seeds> (100,000) are done, as long as the program is the same. Prints the seeds that failed and how
# often every fault, state and transition was reached. Logs: build/soak/cluster. Needs build/release.
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-0}
total=${2:-100000}
portion=500
program=build/release/bin/cairn-sim
logs=build/soak/cluster
version=$(cksum < $program | tr ' ' -) || exit 2
if [ "$(cat $logs/version 2>/dev/null)" != "$version" ]; then
  rm -rf $logs
  mkdir -p $logs
  echo "$version" > $logs/version
fi
longest=0
while :; do
  next=$(cat $logs/next 2>/dev/null || echo 1)
  [ "$next" -le "$total" ] || break
  # A portion that would not come to its end is not begun, but for the first one.
  [ "$seconds" -eq 0 ] || [ $((SECONDS + longest)) -lt "$seconds" ] || break
  began=$SECONDS
  count=$((total - next + 1 < portion ? total - next + 1 : portion))
  $program --first "$next" --seeds $count --jobs "$(nproc)" --keep-going > $logs/from_"$next".log 2>&1
  result=$?
  [ $result -le 1 ] || exit $result
  echo $((next + count)) > $logs/next
  [ $((SECONDS - began)) -le $longest ] || longest=$((SECONDS - began))
done
cat $logs/from_*.log | awk '
  /^ +[0-9]+ / { n = $1; $1 = ""; counts[$0] += n }
  /^[0-9]+ seeds from/ { seeds += $1; virtual += $8 }
  /^failed: / { failed[++num_failed] = $0 }
  END {
    for (what in counts) printf "%12d%s\n", counts[what], what | "sort -k2"
    close("sort -k2")
    for (i = 1; i <= num_failed; ++i) print failed[i]
    printf "%d seeds, %d failed, %d simulated hours\n", seeds, num_failed, virtual / 3600
    exit num_failed > 0 ? 1 : 0
  }'
