#!/usr/bin/env bash
# Plays meters and gateways: here, publishing with your credentials, or on a small machine in the
# project, as edge-device-sa. Fills the registry of meters first, unless it has rows.
#
#   infra/scripts/20_run_edge.sh --project PROJECT [--where local|vm] [--config demo]
#   infra/scripts/20_run_edge.sh --project PROJECT --stop
#
#   --where WHERE      local (default; until Ctrl-C) or vm
#   --config NAME      simulation: a file of simulator/configs without its extension
#   --duration S       local only: seconds to simulate
#   --stop             remove the machine again

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

WHERE=local
CONFIG=demo
DURATION=""
STOP=""
while (($#)); do
    case $1 in
    --where | --config | --duration)
        [[ $# -ge 2 && -n $2 ]] || wrong_call "$1 needs a value"
        case $1 in
        --where) WHERE=$2 ;;
        --config) CONFIG=$2 ;;
        --duration) DURATION=$2 ;;
        esac
        shift 2
        ;;
    --stop)
        STOP=1
        shift
        ;;
    *)
        common_option "$@"
        shift "$TAKEN"
        ;;
    esac
done
require_project
[[ $WHERE == local || $WHERE == vm ]] || wrong_call "--where is local or vm"
CONFIG_FILE=$ROOT/simulator/configs/$CONFIG.yaml
[[ -f $CONFIG_FILE ]] || wrong_call "there is no $CONFIG_FILE"

tf_init
if [[ -n $STOP ]]; then
    tf_apply enable_edge_vm=false
    say "the edge is gone"
    exit 0
fi

dataset=$(tf_output bq_dataset)
rows=$(look 0 bq query "--project_id=$PROJECT" --quiet --format=csv --nouse_legacy_sql \
    "SELECT COUNT(*) FROM \`$dataset.meters\`" | tail -n 1)
if [[ $rows == 0 ]]; then
    # A minute of the same fleet, for its registry.
    run "$BIN/ami" simulate --config "$CONFIG_FILE" --out "$SCRATCH/fleet" \
        --from 2026-01-01T00:00 --to 2026-01-01T00:01
    run bq load "--project_id=$PROJECT" --quiet --source_format=CSV --skip_leading_rows=1 \
        "${dataset/./:}.meters" "$SCRATCH/fleet/registry/meters.csv"
fi

if [[ $WHERE == vm ]]; then
    address=$(release)
    tf_apply enable_edge_vm=true "edge_config=$CONFIG" "edge_release=$address"
    say "the edge starts within ten minutes; next infra/scripts/40_validate.sh --project $PROJECT"
    exit 0
fi

topic=$(tf_output pubsub_topic)
say "you publish as yourself; as the edge once edge_impersonators names you, after: gcloud auth application-default login --impersonate-service-account edge-device-sa@$PROJECT.iam.gserviceaccount.com"
run env AMI_PROFILE=gcp "AMI_PROJECT_ID=$PROJECT" "AMI_PUBSUB_TOPIC=$topic" \
    "$BIN/ami" simulate --config "$CONFIG_FILE" ${DURATION:+--duration "$DURATION"}
