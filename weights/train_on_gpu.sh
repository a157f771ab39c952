#!/usr/bin/env bash
# Trains what ships on a GPU, from the folder of weights/pack_training_data.sh, each stage for some minutes. Needs PyTorch
# and transformers, no network. After an interruption, the same call resumes; a call with more minutes extends a run.
#
#   PACK=models/gpu_pack bash weights/train_on_gpu.sh [pretrain] [tapt] [joint] [held_out]
#
#   pretrain   masked-LM pre-training on transcripts, from random weights             (MINUTES_PRETRAIN, default 10)
#   tapt       adaptation to CLIP regions, from pretrain or else weights/lamar-mini   (MINUTES_TAPT, default 5)
#   joint      one model of all RBPs, from tapt or else weights/lamar-mini-tapt       (MINUTES_JOINT, default 20)
#   held_out   the same without the RBPs that few-label tests use                     (MINUTES_HELD_OUT, default 15)
#
# Without a stage: all four. What each stage writes is in RUNS (default: models/gpu_runs): its run, and STAGE.tar, the
# float16 checkpoint with its log and figures (a limit of 16 MB, as weights that ship have).
# Further variables: PYTHON (default: the clone's .venv, else python3), PRECISION (default: --bf16), TOKENS (of a masked-LM
# batch, 65536), WINDOWS (of a joint batch, 128), PRETRAIN_ARGS and JOINT_ARGS (further arguments of the two scripts).
# Rehearsal on a CPU, with a small PACK: CUDA_VISIBLE_DEVICES= MINUTES_JOINT=1 ... bash weights/train_on_gpu.sh joint
set -euo pipefail

root=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
pack=${PACK:-$root/models/gpu_pack}
runs=${RUNS:-$root/models/gpu_runs}
precision=${PRECISION---bf16}
python=${PYTHON:-$root/.venv/bin/python}
if [[ -z ${PYTHON:-} && ! -x $python ]]; then python=python3; fi
# Both cell lines of each family, relatives included: what a few-label test of one of them must not have seen.
held_out=QKI,PUM1,PUM2,RBFOX2,TARDBP,HNRNPL,PTBP1,HNRNPM,GTF2F1,SRSF1,SRSF7,SRSF9,TIA1,TIAL1,U2AF1,U2AF2
held_out+=,PCBP1,PCBP2,HNRNPK,KHSRP,FUBP3,ILF3,MATR3,SF3B4
held_out=${HELD_OUT:-$held_out}
most_bytes=16000000

stages=("$@")
if (( ! $# )); then stages=(pretrain tapt joint held_out); fi
for stage in "${stages[@]}"; do
    case $stage in
    pretrain) needed=transcripts ;;
    tapt) needed=clip ;;
    joint | held_out) needed=tracks ;;
    *)
        echo "error: stage: found '$stage', wanted pretrain, tapt, joint or held_out" >&2
        exit 2
        ;;
    esac
    if [[ ! -d $pack/$needed ]]; then
        echo "error: PACK: found no $pack/$needed, wanted a folder of weights/pack_training_data.sh" >&2
        exit 2
    fi
done
mkdir -p "$runs"
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

started_from() { # the run of an earlier stage where it is complete, else the weights that ship
    if [[ -e $runs/$1/eval_results.json ]]; then echo "$runs/$1"; else echo "$root/weights/$2"; fi
}

masked_lm() { # stage, minutes, arguments
    local stage=$1 minutes=$2
    shift 2
    "$python" "$root/finetune_scripts/pretrain.py" --token_budget "${TOKENS:-65536}" --warmup_steps 200 \
        --max_minutes "$minutes" $precision --save_steps 500 --eval_steps 1000 --logging_steps 50 \
        --output_dir "$runs/$stage" "$@" ${PRETRAIN_ARGS:-}
}

joint_training() { # stage, minutes, arguments
    local stage=$1 minutes=$2
    shift 2
    "$python" "$root/finetune_scripts/finetune_all_rbps.py" --data_path "$pack/tracks" \
        --pretrain_path "$(started_from tapt lamar-mini-tapt)" --batch_size "${WINDOWS:-128}" --warmup_steps 200 \
        --max_minutes "$minutes" $precision --eval_steps 2000 --save_steps 500 \
        --output_dir "$runs/$stage" "$@" ${JOINT_ARGS:-}
}

pack_results() { # stage, files of its run
    local stage=$1
    shift
    "$python" "$root/weights/fetch_lamar.py" --convert "$runs/$stage" --dtype float16 --overwrite \
        --output_dir "$runs/$stage-float16"
    tar -C "$runs" -cf "$runs/$stage.tar" "$stage-float16" "${@/#/$stage/}"
    local size
    size=$(wc -c < "$runs/$stage.tar")
    if (( size > most_bytes )); then
        echo "error: $runs/$stage.tar: found $size bytes, wanted $most_bytes or fewer" >&2
        exit 2
    fi
    echo "outputs: $runs/$stage.tar ($size bytes)"
}

for stage in "${stages[@]}"; do
    echo "== $stage"
    case $stage in
    pretrain)
        masked_lm pretrain "${MINUTES_PRETRAIN:-10}" --data_path "$pack/transcripts" --config lamar-mini --peak_lr 1e-3
        pack_results pretrain eval_results.json log.csv loss_curve.png
        ;;
    tapt)
        masked_lm tapt "${MINUTES_TAPT:-5}" --data_path "$pack/clip/train.txt.gz" --val_data "$pack/clip/val.txt.gz" \
            --exclude "$pack"/unseen/*.csv.gz --pretrain_path "$(started_from pretrain lamar-mini)" --peak_lr 6e-4
        pack_results tapt eval_results.json log.csv loss_curve.png
        ;;
    joint)
        joint_training joint "${MINUTES_JOINT:-20}"
        pack_results joint eval_results.json tracks.csv log.csv learning_curve.png
        ;;
    held_out)
        joint_training held_out "${MINUTES_HELD_OUT:-15}" --hold_out "$held_out"
        pack_results held_out eval_results.json tracks.csv log.csv learning_curve.png
        ;;
    esac
done
