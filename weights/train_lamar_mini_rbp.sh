#!/usr/bin/env bash
# Trains weights/lamar-mini-rbp again, as it ships: one model of all eCLIP experiments, from weights/lamar-mini-tapt. Three
# hours on two cores with bfloat16 units; after an interruption, the same call resumes.
#
#   PEAKS=eclip_peaks/ REGIONS=hg38_clip_regions.fa.gz TRANSCRIPTS=transcripts/ LABELLED=eclip_idr/ \
#       bash weights/train_lamar_mini_rbp.sh
#
#   PEAKS        folder of eCLIP peaks with index.tsv
#   REGIONS      FASTA of CLIP regions with coordinates, or of the genome
#   TRANSCRIPTS  folder of FASTA files of human transcripts, for windows that nothing binds
#   LABELLED     folder of labelled sets whose dev.csv and test.csv must stay unseen
#   RUNS         folder for the track set and the run (default: models/lamar-mini-rbp-runs)
# Further variables: PYTHON (default: the clone's .venv), PRECISION (default: --bf16; empty for float32).
set -euo pipefail

inputs="PEAKS REGIONS TRANSCRIPTS LABELLED"
source "$(dirname -- "${BASH_SOURCE[0]}")/inputs.sh"
runs=${RUNS:-$root/models/lamar-mini-rbp-runs}
precision=${PRECISION---bf16}
target=$root/weights/lamar-mini-rbp
mkdir -p "$runs" "$target"

if [[ ! -e $runs/tracks/report.json ]]; then
    "$python" "$root/preprocess/make_track_dataset.py" --peaks "$PEAKS" --fasta "$REGIONS" --background "$TRANSCRIPTS" \
        --exclude "$LABELLED"/*/dev.csv "$LABELLED"/*/test.csv --output_dir "$runs/tracks"
fi
"$python" "$root/finetune_scripts/finetune_all_rbps.py" --data_path "$runs/tracks" \
    --pretrain_path "$root/weights/lamar-mini-tapt" --head max_mean --batch_size 32 --head_lr 1e-3 --encoder_lr 3e-4 \
    --warmup_steps 200 --max_steps 15000 $precision --eval_steps 2000 --save_steps 250 --output_dir "$runs/joint"

# Only these files are replaced: the model card beside them is written by hand.
"$python" "$root/weights/fetch_lamar.py" --convert "$runs/joint" --dtype float16 --output_dir "$runs/joint-float16" \
    --overwrite
cp "$runs/joint-float16"/* "$runs/joint"/{eval_results.json,tracks.csv,log.csv,learning_curve.png} "$target/"
