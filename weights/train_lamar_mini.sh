#!/usr/bin/env bash
# Trains weights/lamar-mini and weights/lamar-mini-tapt again, as they ship. About two hours on two cores with bfloat16
# units; after an interruption, the same call resumes.
#
#   TRANSCRIPTS=transcripts/ REGIONS=hg38_clip_regions.fa.gz PEAKS=eclip_peaks/ LABELLED=eclip_idr/ \
#       bash weights/train_lamar_mini.sh
#
#   TRANSCRIPTS  folder of FASTA files of human transcripts, to pre-train on
#   REGIONS      FASTA of CLIP regions with coordinates, PEAKS the eCLIP peaks that tell their strands
#   LABELLED     folder of labelled sets whose dev.csv and test.csv must stay unseen
#   RUNS         folder for the two runs and what they read (default: models/lamar-mini-runs)
# Further variables: PYTHON (default: the clone's .venv), PRECISION (default: --bf16; empty for float32).
set -euo pipefail

inputs="TRANSCRIPTS REGIONS PEAKS LABELLED"
source "$(dirname -- "${BASH_SOURCE[0]}")/inputs.sh"
runs=${RUNS:-$root/models/lamar-mini-runs}
precision=${PRECISION---bf16}
mkdir -p "$runs"

# Held out by a hash: 2 % of the different sequences. What shares 30 nt in a row with those used for validation, such as
# isoforms, is left out, and every sequence that several files have is taken once.
"$python" "$root/finetune_scripts/pretrain.py" --data_path "$TRANSCRIPTS" --config lamar-mini \
    --token_budget 4096 --peak_lr 5e-4 --warmup_steps 200 --max_steps 8790 $precision \
    --save_steps 200 --eval_steps 400 --logging_steps 20 --output_dir "$runs/pretrain"

# CLIP regions on the strands of their peaks, without the chromosomes that chromosome-split evaluations test on.
PYTHON=$python bash "$root/preprocess/run_prep.sh" --fasta "$REGIONS" --eclip "$PEAKS" --output "$runs/clip/clip" \
    --orient --exclude_chroms chr8,chr9,chr19,chr22 --group region

"$python" "$root/finetune_scripts/pretrain.py" --data_path "$runs/clip/clip_train.jsonl" \
    --val_data "$runs/clip/clip_val.jsonl" --exclude "$LABELLED"/*/dev.csv "$LABELLED"/*/test.csv \
    --pretrain_path "$runs/pretrain" --token_budget 4096 --peak_lr 3e-4 --warmup_steps 200 --max_steps 1049 \
    $precision --save_steps 400 --logging_steps 20 --output_dir "$runs/tapt"

# Only these files are replaced: the model cards beside them are written by hand.
for name in pretrain tapt; do
    target=$root/weights/lamar-mini
    if [[ $name == tapt ]]; then target+=-tapt; fi
    "$python" "$root/weights/fetch_lamar.py" --convert "$runs/$name" --dtype float16 --output_dir "$runs/$name-float16" \
        --overwrite
    cp "$runs/$name-float16"/* "$runs/$name"/{eval_results.json,log.csv,loss_curve.png} "$target/"
done
