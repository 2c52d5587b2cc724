#!/usr/bin/env bash
# A study on nodes that SLURM gives: the first one drives the search, all of them train.
#
#   sbatch docs/cluster/slurm.sh studies/receipts.yaml search.trials=32
#
# Submit it from the project's folder, which must lie where all nodes see it, with the environment that
# `make venv` and `pip install` made in .venv/. Change the lines below to your cluster. The study ends when the
# job's time does, so ask for enough. The job's exit status is the study's: 0 done, 1 failed, 2 wrong input.
#
# Results lie in runs/ of that folder. MLflow's store is the file mlflow-<job>.db there, for which
# `recipe-search ui --uri sqlite:///mlflow-<job>.db` opens the pages; a server of your own takes its place with
# `export MLFLOW_TRACKING_URI=http://...` before sbatch.
#SBATCH --job-name=recipe-search
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
set -euo pipefail

[ $# -ge 1 ] || { echo "usage: sbatch docs/cluster/slurm.sh STUDY.yaml [key=value ...]" >&2; exit 2; }
cd "$SLURM_SUBMIT_DIR"
# shellcheck source=/dev/null
source .venv/bin/activate

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --all-ip-addresses | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 10000)) # another job's head may run on the same node

# Who has the token can use the cluster: every job makes its own.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
export RECIPE_SEARCH_SHARED=$PWD
export MLFLOW_TRACKING_URI=${MLFLOW_TRACKING_URI:-sqlite:///$PWD/mlflow-$SLURM_JOB_ID.db}

# What SLURM granted, which is not all that the node has; srun does not take it over by itself.
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
granted=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")
started=()
stop() { kill "${started[@]}" 2> /dev/null || true; wait || true; }
trap stop EXIT

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    ray start --head --block --node-ip-address="$address" --port="$port" --dashboard-host=127.0.0.1 \
    --resources='{"train_driver": 32}' "${granted[@]}" &
started+=($!)
timeout 300 sh -c "until ray health-check --address $address:$port > /dev/null 2>&1; do sleep 1; done" ||
    { echo "error: the Ray head on $head does not answer at $address:$port" >&2; exit 1; }

for worker in "${nodes[@]:1}"; do
    srun --nodes=1 --ntasks=1 --nodelist="$worker" --overlap \
        ray start --block --address="$address:$port" "${granted[@]}" &
    started+=($!)
done
export RAY_ADDRESS=$address:$port
timeout 300 python -c '
import sys, time, ray
ray.init(log_to_driver=False, logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[1]):
    time.sleep(1)
' "${#nodes[@]}" || { echo "error: not all of ${nodes[*]} joined the Ray cluster" >&2; exit 1; }

python -m search.submit "$@"
