#!/usr/bin/env bash
# The tests that need a GPU, side by side where they leave each other room: tests/gpu on one card within two minutes.
# Needs the models layer alone (torch, diffusers, transformers, pytest); torchao and peft where they are. WHEELS names a
# folder of wheels to install first, for a machine that reaches no index.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
LOGS=${OUT:-build/gpu-checks}
mkdir -p "$LOGS"
if [ -n "${WHEELS:-}" ]; then
  "$PYTHON" -m pip install --quiet --no-deps --disable-pip-version-check "$WHEELS"/*.whl || exit 1
fi

check() {  # name, then what pytest runs
  local name=$1
  shift
  "$PYTHON" -m pytest -q -p no:cacheprovider -o addopts= -o filterwarnings=default --tb=short --durations=5 -ra \
    --junit-xml="$LOGS/$name.xml" "$@" > "$LOGS/$name.log" 2>&1
}

ROWS=tests/gpu/test_descriptions_on_cuda.py
ENGINES=tests/gpu/test_engines_on_cuda.py
MEMORY="lack_of_memory or gives_its_memory_back or gives_the_device_memory"
export OMP_NUM_THREADS=1 PYTHONPATH=. TORCHINDUCTOR_COMPILE_THREADS=2
jobs=()
check descriptions $ROWS -k "a_description_makes" & jobs+=($!)
check accelerations $ROWS -k "an_acceleration_changes" & jobs+=($!)
check rounded $ROWS -k "rounded_weights_change" & jobs+=($!)
check attention $ROWS -k "an_attention_backend" & jobs+=($!)
check together $ROWS -k "accelerations_together and not rounded" & jobs+=($!)
check together_rounded $ROWS -k "accelerations_together and rounded" & jobs+=($!)
check loras $ROWS -k "pair_of_loras" & jobs+=($!)
check engines $ENGINES -k "not ($MEMORY)" & jobs+=($!)
failed=0
for job in "${jobs[@]}"; do wait "$job" || failed=1; done
# Alone: it fills the card, and counts what others would hold.
check memory $ENGINES -k "$MEMORY" || failed=1
for log in "$LOGS"/*.log; do
  echo "== $(basename "$log" .log): $(tail -n 1 "$log")"
  grep -E "^(FAILED|ERROR|SKIPPED|E  )" "$log"
done
exit $failed
