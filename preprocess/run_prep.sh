#!/usr/bin/env bash
# CLIP regions and eCLIP peaks to windows for self-supervised training, split into training and validation part.
#
#   bash preprocess/run_prep.sh                                                    the synthetic demo set
#   bash preprocess/run_prep.sh --fasta regions.fa.gz --eclip peaks/ --output prep/clip --workers 2
#   FASTA=regions.fa.gz ECLIP=peaks/ OUTPUT=prep/clip bash preprocess/run_prep.sh
#
# Flags are those of preprocess.py and of train_val_split.py; each script's --help explains its own:
#   --fasta --bed --eclip --output --max_len --stride --sampling --jitter --workers --format --seed
#   --exclude_chroms --orient --merge_peaks --keep_nonstandard --overwrite, and for the split --val_fraction --group
# Variables are the same names in capitals, switches set to 1: FASTA=... MAX_LEN=256 MERGE_PEAKS=1; for --group it is
# VAL_GROUP. EXCLUDE_CHROMS is a list with commas, as chr8,chr9. A flag wins over its variable. PYTHON is the interpreter
# (default: the clone's .venv, else python3).
# Paths are relative to the folder it is called from.
set -euo pipefail

root=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-}
if [[ -z $python ]]; then
    if [[ -x $root/.venv/bin/python ]]; then python=$root/.venv/bin/python; else python=python3; fi
fi

fail() {
    echo "error: $1 (--help lists the options)" >&2
    exit 2
}

fasta=
output=
format=jsonl
inputs=
windows=()
split=()

# Appends a flag to the command of each script that takes it; the last one given wins there.
give() {
    case $1 in
        fasta) fasta=$2 ;;
        output) output=$2 ;;
        format) format=$2 ;;
        bed | eclip) inputs=$1 ;;
    esac
    case $1 in
        val_fraction | group) split+=("--$1" "$2") ;;
        seed) windows+=("--seed" "$2") split+=("--seed" "$2") ;;
        orient | merge_peaks | keep_nonstandard) windows+=("--$1") ;;
        exclude_chroms)
            read -r -a names <<< "${2//,/ }"
            windows+=(--exclude_chroms "${names[@]}")
            ;;
        overwrite) windows+=(--overwrite) split+=(--overwrite) ;;
        *) windows+=("--$1" "$2") ;;
    esac
}

for name in fasta bed eclip output max_len stride sampling jitter workers format seed val_fraction group \
    exclude_chroms orient merge_peaks keep_nonstandard overwrite; do
    variable=$(printf '%s' "$name" | tr '[:lower:]' '[:upper:]')
    if [[ $name == group ]]; then variable=VAL_GROUP; fi # some systems set GROUP for every user
    value=${!variable:-}
    case $name in
        orient | merge_peaks | keep_nonstandard | overwrite)
            case $value in
                '' | 0) value= ;;
                1) ;;
                *) fail "$variable: found '$value', wanted 1 or 0" ;;
            esac
            ;;
    esac
    if [[ -n $value ]]; then give "$name" "$value"; fi
done

while (($#)); do
    case $1 in
        -h | --help)
            sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        --orient | --merge_peaks | --keep_nonstandard | --overwrite)
            give "${1#--}" 1
            shift
            ;;
        --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        --fasta | --bed | --eclip | --output | --max_len | --stride | --sampling | --jitter | --workers | --format | \
            --seed | --val_fraction | --group | --exclude_chroms)
            (($# > 1)) || fail "$1: found no value"
            give "${1#--}" "$2"
            shift 2
            ;;
        *) fail "found '$1', which neither step knows" ;;
    esac
done

if [[ -z $fasta && -n $inputs ]]; then
    fail "--$inputs: found it without --fasta, wanted both, or neither for the demo set"
elif [[ -n $fasta && -z $output ]]; then
    fail "--output: not given, wanted the prefix of the output files"
fi
output=${output:-$root/demo/prep/demo}

# Parsed before the first step is run, so that a mistake in the second one's flags leaves nothing behind.
"$python" "$root/preprocess/train_val_split.py" ${split[@]+"${split[@]}"} --help > /dev/null

echo "== 1/2 windows"
"$python" "$root/preprocess/preprocess.py" ${windows[@]+"${windows[@]}"}
echo "== 2/2 training and validation part"
"$python" "$root/preprocess/train_val_split.py" --metadata "${output}_metadata.$format" ${split[@]+"${split[@]}"}
