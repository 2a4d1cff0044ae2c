#!/usr/bin/env bash
# Everything that needs a GPU, in pieces of less than ten minutes; README.md beside this file says which, and when.
# Results go to benchmarks/, and to the folder in OUT where that is set, after every piece and every row.
set -uo pipefail
cd "$(dirname "$0")/../.."
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
jobs=${JOBS:-8}
small=${SMALL:-} # set: a dry run on a CPU, with TRITON_INTERPRET=1
benchmark=(scripts/gpu/benchmark.py)
failed=0
begun=$(mktemp)
output=()
first_model=waveglow-256 second_model=lapglow peers=(vocos-like hifigan-v1) sizes=() long=8x10 longer=16x10
if [ -n "$small" ]; then
    first_model=waveglow-toy second_model=lapglow-toy peers=(vocos-like) sizes=(--size 1x0.02) long=1x0.02 longer=1x0.02
    output=(--output "${OUT:-$(mktemp -d)}/benchmarks")
    benchmark+=(--small --seconds 0 "${output[@]}")
fi

keep() {
    [ -n "${OUT:-}" ] || return 0
    local folder
    for folder in benchmarks waveflow/ops/tuning waveflow/ops/parity; do
        [ -d $folder ] || continue
        mkdir -p "$OUT/${folder##*/}"
        find $folder -maxdepth 1 -name '*.json' -newer "$begun" -exec cp -f {} "$OUT/${folder##*/}"/ \;
    done
}

# Run a command for at most so many seconds; what it wrote before it ended is kept, however it ended.
within() {
    local seconds=$(($1 * (${#small} ? 20 : 1)))
    shift
    timeout "$seconds" "$python" "$@"
    local status=$?
    keep
    [ $status -eq 0 ] || { echo "== ended with $status: $*" >&2; failed=1; }
}

piece() {
    echo "== $1 $(date -u +%T)"
    case $1 in
    extension)
        # Built for the device at hand alone, which halves the time.
        within 120 -m pip install -q --no-build-isolation --no-deps --no-index ./cuda_ext ;;
    tests)
        within 180 -m pytest -q -n "$jobs" -p no:cacheprovider tests/ops tests/cuda_ext \
            tests/inference/test_planned.py tests/inference/test_long.py ;;
    parity)
        if [ -n "$small" ]; then
            within 290 scripts/gpu/parity.py --model $second_model --dtype float16 --seconds 0.01 --backend reference \
                "${output[@]}"
        else
            within 280 scripts/gpu/parity.py --jobs "$jobs"
        fi ;;
    autotune)
        if [ -n "$small" ]; then
            within 290 scripts/gpu/autotune.py --device cpu --waveglow $first_model --lapglow $second_model \
                --longest 40 --candidates 1 "${output[@]}"
        else
            within 180 scripts/gpu/autotune.py --jobs "$jobs" --minutes 2.7 --candidates 8
        fi ;;
    benchmark)
        within 100 "${benchmark[@]}" --model $second_model --minutes 1.4 "${sizes[@]}" --backend reference triton cuda
        within 50 "${benchmark[@]}" --model "${peers[@]}" --minutes 0.6 "${sizes[@]}" --backend reference
        within 260 "${benchmark[@]}" --model $first_model --minutes 4 "${sizes[@]}" --backend reference triton cuda ;;
    compiled)
        # Each in a process of its own, for the compiler may take longer than there is; what matters most comes first.
        compiled=("${benchmark[@]}" --dtype bfloat16 --size $long --model)
        within 170 "${compiled[@]}" $first_model --backend max-autotune-parts
        within 50 "${compiled[@]}" $second_model --backend max-autotune-parts
        within 230 "${compiled[@]}" $first_model --backend max-autotune
        within 60 "${compiled[@]}" $second_model --backend max-autotune
        within 50 "${compiled[@]}" "${peers[@]}" --backend max-autotune ;;
    profile)
        within 40 scripts/gpu/profile_inverse.py --model $first_model --size $long "${output[@]}"
        within 30 scripts/gpu/profile_inverse.py --model $second_model --size $longer "${output[@]}" ;;
    training)
        within 70 scripts/benchmark_train.py --model lapglow-base --spectral-share 0.5 \
            --json benchmarks/training-lapglow-base.json
        within 90 scripts/benchmark_train.py --model waveglow-256 --batch 24 --segment 16000 \
            --json benchmarks/training-waveglow-256.json ;;
    *)
        echo "no piece is called $1; there are extension, tests, parity, autotune, benchmark, compiled, profile," \
            "training" >&2
        return 2 ;;
    esac
}

[ $# -gt 0 ] || set -- extension tests parity autotune benchmark compiled profile training
for name in "$@"; do
    piece "$name" || failed=1
done
exit $failed
