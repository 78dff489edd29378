#!/usr/bin/env bash
# Launches the streaming ingest, or ends it. While a job runs, launching does nothing.
#
#   infra/scripts/30_launch_dataflow.sh --project PROJECT [--update | --drain | --cancel]
#
#   --update           replace the running job by this code; its state and messages are taken over
#   --drain            take no new messages, store what is under way, end
#   --cancel           end at once; what waits in a window is lost
#   --wheel            workers install a wheel instead of running an image: nothing to build, but
#                      every new worker takes minutes

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ACTION=launch
WHEEL=""
while (($#)); do
    case $1 in
    --update | --drain | --cancel)
        [[ $ACTION == launch ]] || wrong_call "--$ACTION and $1 exclude each other"
        ACTION=${1#--}
        shift
        ;;
    --wheel)
        WHEEL=1
        shift
        ;;
    *)
        common_option "$@"
        shift "$TAKEN"
        ;;
    esac
done
require_project

tf_init
region=$(tf_output region)
options=$(look '{"options": "<dataflow_options>", "job_name": "<job_name>"}' \
    terraform "-chdir=$INFRA" output -json dataflow_options)
option() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1" <<<"$options"; }
name=$(option job_name)
job=$(active_job "$region" "$name")

if [[ $ACTION == drain || $ACTION == cancel ]]; then
    if [[ -z $job && -z $DRY_RUN ]]; then
        say "nothing to $ACTION: no job $name is active"
        exit 0
    fi
    confirm "The job $name ($job) will ${ACTION}."
    end_job "$region" "${job:-<job>}" "$ACTION"
    say "the job $name has ended; Pub/Sub keeps what comes meanwhile"
    exit 0
fi
if [[ $ACTION == launch && -n $job ]]; then
    say "the job $name ($job) is active already; --update replaces it"
    exit 0
fi
[[ $ACTION != update || -n $job || -n $DRY_RUN ]] || die "there is no job $name to update"

if [[ -n $WHEEL ]]; then
    run "$BIN/uv" build --wheel "$ROOT/infra/worker" --out-dir "$SCRATCH/dist"
    wheel=$(find "$SCRATCH/dist" -name '*.whl' 2>/dev/null | head -n 1)
    code=(--extra_package "${wheel:-<wheel>}")
else
    versions=$(look '3.11 2.77.0' "$BIN/python" -c \
        'import sys, apache_beam; print("%d.%d" % sys.version_info[:2], apache_beam.__version__)')
    read -r python_version beam_version <<<"$versions"
    tag=$(code_version)-py$python_version-beam$beam_version
    worker=$(image ingest-worker "$tag" worker.yaml \
        "_PYTHON_VERSION=$python_version" "_BEAM_VERSION=$beam_version")
    code=(--sdk_container_image "$worker")
fi

confirm "The job $name will run in $PROJECT, and cost money until it is drained."
arguments=()
while IFS= read -r line; do arguments+=("$line"); done < <(python3 -c '
import json, sys
for name, value in json.load(sys.stdin).items():
    print(f"--{name}={value}")' <<<"$options")
[[ $ACTION != update ]] || arguments+=(--update)
# Terraform has made the tables and a network without public addresses.
run "$BIN/python" -m beam_jobs.main "${arguments[@]}" "${code[@]}" \
    --streaming --no_use_public_ips --no_create_tables

[[ -n $DRY_RUN ]] || for _ in $(seq 60); do
    id=$(active_job "$region" "$name")
    [[ -z $id || $id == "$job" ]] || state=$(job_state "$region" "$id")
    case ${state:-} in
    *RUNNING) break ;;
    *FAILED) die "the job $id has failed; see its log" ;;
    esac
    sleep "$POLL_S"
done
[[ -n $DRY_RUN || ${state:-} == *RUNNING ]] || die "the job $name does not run after 15 minutes; see its log"
say "the job $name runs; next infra/scripts/20_run_edge.sh --project $PROJECT"
