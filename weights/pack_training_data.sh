#!/usr/bin/env bash
# Prepares everything that weights/train_on_gpu.sh reads, in one folder under 40 MB that can be copied to a GPU machine
# without a network. Needs the full set-up (make setup); the GPU machine then needs PyTorch and transformers only.
#
#   TRANSCRIPTS=transcripts/ REGIONS=hg38_clip_regions.fa.gz PEAKS=eclip_peaks/ LABELLED=eclip_idr/ \
#       PACK=models/gpu_pack bash weights/pack_training_data.sh
#
#   TRANSCRIPTS, REGIONS, PEAKS, LABELLED   as for train_lamar_mini.sh and train_lamar_mini_rbp.sh
#   PACK         folder to write (default: models/gpu_pack)
# Further variables: PYTHON (default: the clone's .venv), WORK (what is only needed on the way; default: PACK.work).
set -euo pipefail

inputs="TRANSCRIPTS REGIONS PEAKS LABELLED"
source "$(dirname -- "${BASH_SOURCE[0]}")/inputs.sh"
pack=${PACK:-$root/models/gpu_pack}
work=${WORK:-$pack.work}
most_mb=40
mkdir -p "$pack/transcripts" "$pack/clip" "$pack/tracks" "$pack/unseen" "$work"

cp "$TRANSCRIPTS"/*.fa.gz "$pack/transcripts/"

# As in train_lamar_mini.sh; of the windows' metadata, masked-LM training reads the sequences alone.
PYTHON=$python bash "$root/preprocess/run_prep.sh" --fasta "$REGIONS" --eclip "$PEAKS" --output "$work/clip" \
    --orient --exclude_chroms chr8,chr9,chr19,chr22 --group region
for part in train val; do
    gzip -9nc "$work/clip_${part}_sequences.txt" > "$pack/clip/$part.txt.gz"
done

# As in train_lamar_mini_rbp.sh.
if [[ ! -e $work/tracks/report.json ]]; then
    "$python" "$root/preprocess/make_track_dataset.py" --peaks "$PEAKS" --fasta "$REGIONS" --background "$TRANSCRIPTS" \
        --exclude "$LABELLED"/*/dev.csv "$LABELLED"/*/test.csv --output_dir "$work/tracks"
fi
cp "$work/tracks"/{windows.parquet,tracks.tsv} "$pack/tracks/"

for file in "$LABELLED"/*/dev.csv "$LABELLED"/*/test.csv; do
    gzip -9nc "$file" > "$pack/unseen/$(basename "$(dirname "$file")").$(basename "$file").gz"
done

size=$(du -sm "$pack" | cut -f 1)
du -sm "$pack"/*
if (( size > most_mb )); then
    echo "error: PACK: found $size MB in $pack, wanted $most_mb MB or less" >&2
    exit 2
fi
echo "outputs: $pack ($size MB)"
