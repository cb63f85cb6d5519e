#!/usr/bin/env bash
# From nothing to a robustness report: environment, toy dataset, training, evaluation, predictions, corruptions.
#   bash tools/quickstart.sh [--task TASK] [--work-dir DIR] [--data DIR] [--short] [SETUP OPTIONS]
#
#   --task       segmentation, detection or classification (default: segmentation)
#   --work-dir   folder for results (default: work_dirs/quickstart_TASK); the same command continues an interrupted run
#   --data       folder for the toy dataset (default: data/toy_LAYOUT)
#   --short      a few iterations on a few tiny images: tests this script, not the model
#   SETUP OPTIONS are those of tools/setup_env.sh: --stack, --active, --torch-index URL.
#   With FAN_MM_PYTHON=/path/to/python in the environment, that Python is used without any setup.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

task=segmentation work='' data='' short='' setup=()
while [ $# -gt 0 ]; do
    case "$1" in
        --task | --work-dir | --data)
            [ $# -ge 2 ] || { echo "error: $1 needs a value" >&2; exit 2; }
            case "$1" in
                --task) task=$2 ;;
                --work-dir) work=$(realpath -m "$2") ;;
                --data) data=$(realpath -m "$2") ;;
            esac
            shift 2 ;;
        --short) short=yes; shift ;;
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; exit ;;
        *) setup+=("$1"); shift ;;
    esac
done

if [ -n "${FAN_MM_PYTHON:-}" ] && [ ${#setup[@]} -gt 0 ]; then
    echo "error: ${setup[*]}: unknown, or an option of a setup, which FAN_MM_PYTHON replaces" >&2
    exit 2
fi

# Task-specific settings: layout and size of the dataset, the config, and their short versions.
options=() purpose=quickstart
case "$task" in
    segmentation)
        layout=cityscapes config=configs/fan_hybrid_toy_cityscapes.py
        scenes=(--size 128x256 --train 1500 --val 32)
        sweep=(--benchmark all --severities 1 2 3 --save-images 6)
        if [ -n "$short" ]; then
            scenes=(--size 64x128 --train 8 --val 4)
            options+=(train_cfg.max_iters=4 train_cfg.val_interval=4)
        fi ;;
    detection) # needs compiled mmcv ops: a build of several minutes, once per machine
        layout=coco config=configs/fan_hybrid_toy_mask_rcnn_coco.py purpose=detection
        scenes=(--size 192x256 --train 600 --val 60)
        sweep=(--benchmark coco-c --severities 3 --save-images 6)
        if [ -n "$short" ]; then
            scenes=(--size 64x96 --train 8 --val 4)
            options+=(train_cfg.max_iters=4 train_cfg.val_interval=4)
        fi ;;
    classification)
        layout=imagenet config=configs/fan_hybrid_toy_imagenet.py
        scenes=(--size 80x80 --train 3000 --val 400)
        sweep=(--benchmark all --severities 1 2 3 --save-images 6)
        if [ -n "$short" ]; then
            scenes=(--size 64x64 --train 20 --val 10)
            options+=(train_cfg.max_epochs=2 train_cfg.val_interval=2 train_dataloader.batch_size=10)
        fi ;;
    *)
        echo "error: unknown task '$task': choose segmentation, detection or classification" >&2
        exit 2 ;;
esac
if [ -n "$short" ]; then
    options+=(default_hooks.checkpoint.interval=2 default_hooks.logger.interval=1)
    sweep=(--benchmark all --corruptions fog --severities 3 --save-images 1)
fi

cd "$root"
# Without a GPU, glibc would spend a third of a training step on releasing and requesting memory.
export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=4294967296
work=${work:-$root/work_dirs/quickstart_$task} data=${data:-$root/data/toy_$layout}
for loader in train val test; do
    options+=("${loader}_dataloader.dataset.data_root=$data/")
done
if [ "$task" = detection ]; then
    for loader in val test; do
        options+=("${loader}_evaluator.ann_file=$data/annotations/instances_val2017.json")
    done
fi

begin=$SECONDS
say() { printf '[%d:%02d] %s\n' $(((SECONDS - begin) / 60)) $(((SECONDS - begin) % 60)) "$*"; }
# logged LOG FILTER COMMAND...: run with all output in a log; print what the sed filter prints
logged() {
    local log=$work/$1 filter=$2
    shift 2
    if ! "$@" 2>&1 | tee "$log" | sed -un "$filter"; then
        tail -n 20 "$log" >&2
        echo "error: this step failed, see $log" >&2
        exit 1
    fi
}
progress='s/.*Iter(train) *\[ *\([0-9/]*\)\].*eta: \([0-9:]*\) .* loss: \([0-9.]*\).*/    iteration \1, loss \3, \2 to go/p
s/.*Epoch(train) *\[\([0-9]*\)\]\[ *\([0-9/]*\)\].*eta: \([0-9:]*\) .* loss: \([0-9.]*\).*/    epoch \1, iteration \2, loss \4, \3 to go/p'

say 'environment'
python=${FAN_MM_PYTHON:-$(bash tools/setup_env.sh --for $purpose ${setup[@]+"${setup[@]}"})}
mkdir -p "$work"

say "toy dataset: $data"
"$python" tools/make_toy_dataset.py "$layout" "$data" "${scenes[@]}"

if [ -e "$work/trained" ]; then
    say "training: already finished"
else
    say "training $config (log: $work/train.log)"
    logged train.log "$progress" "$python" tools/train.py "$config" --work-dir "$work" --resume \
        --cfg-options "${options[@]}"
    cp "$work/last_checkpoint" "$work/trained"
fi
checkpoint=$(cat "$work/trained")

say "evaluation: $work/scores.txt"
logged test.log '' "$python" tools/test.py "$config" "$checkpoint" --work-dir "$work" --cfg-options "${options[@]}"
grep -E '^[+|]| Average |(Iter|Epoch)\(test\).*(mIoU|mAP|accuracy)' "$work/test.log" |
    sed 's/.*[rh](test)[^]]*\] *//' >"$work/scores.txt"
cat "$work/scores.txt"

say "predictions (image, ground truth, prediction): $work/predictions"
logged pictures.log '' "$python" tools/show_predictions.py "$config" "$checkpoint" --out "$work/predictions" \
    --cfg-options "${options[@]}"

say "corruptions: $work/robustness"
logged corruptions.log '/%, .* images$/,$p' "$python" tools/test_corruption.py "$config" "$checkpoint" \
    --work-dir "$work/robustness" "${sweep[@]}" --cfg-options "${options[@]}"

say "done: scores in scores.txt, predictions in predictions/, robustness in robustness/report.html, all in:"
echo "$work"
