# Sourced by the scripts that train what ships: sets $root and $python, and ends the script where an input is missing.
# $inputs names the variables that hold paths; LABELLED is a folder of labelled sets with dev.csv and test.csv.
root=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
for name in $inputs; do
    if [[ ! -e ${!name:-} ]]; then
        echo "error: $name: found '${!name:-}', wanted a path that is there (see the head of $0)" >&2
        exit 2
    fi
done
if ! ls "$LABELLED"/*/dev.csv "$LABELLED"/*/test.csv > /dev/null 2>&1; then
    echo "error: LABELLED: found '$LABELLED', wanted a folder of sets with dev.csv and test.csv" >&2
    exit 2
fi
