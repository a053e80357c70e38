#!/bin/sh
# Trains the report's runs anew, one change at a time, and records what the write-up reads of each:
# settings, measurements, and the answers to the held-out sentences with their scores.
# Without arguments all runs (about ten minutes on one thread), else those that are named.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
runs=${RUNS:-runs/report}
export OMP_NUM_THREADS=1 # the same sums in the same order: the same numbers again

record() {
    name=$1 && shift
    unrolled train piglatin --out "$runs/$name" --overwrite --training.max-steps 1000 "$@"
    mkdir -p "$here/$name"
    for file in config.json environment.json metrics.jsonl; do cp "$runs/$name/$file" "$here/$name"; done
    unrolled evaluate "$runs/$name" --json --receipt "$here/$name/answers.json" >"$here/$name/scores.json"
}

for name in ${*:-1-first 2-optimizer 3-heads}; do
    case $name in
    1-first) record "$name" --model.num-heads 2 --training.optimizer adamw --training.learning-rate 1e-3 ;;
    2-optimizer) record "$name" --model.num-heads 2 --training.optimizer muon --training.learning-rate 1e-2 ;;
    3-heads) record "$name" --model.num-heads 4 --training.optimizer muon --training.learning-rate 1e-2 ;;
    *) echo "no run $name" >&2 && exit 2 ;;
    esac
done
