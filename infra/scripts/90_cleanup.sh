#!/usr/bin/env bash
# Removes everything that the other scripts made: drains the ingest, lists and destroys what
# Terraform's state names, looks whether anything is left, removes the state. Readings, archive and
# marts are lost. Status 1 when something is left. The project's services stay switched on.
#
#   infra/scripts/90_cleanup.sh --project PROJECT [--cancel]
#
#   --cancel           end the ingest at once instead of draining it

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HOW=drain
while (($#)); do
    case $1 in
    --cancel)
        HOW=cancel
        shift
        ;;
    *)
        common_option "$@"
        shift "$TAKEN"
        ;;
    esac
done
require_project

if [[ -z $DRY_RUN ]] && ! holds gcloud storage buckets describe "gs://$STATE_BUCKET"; then
    say "there is no state of $PROJECT: nothing was deployed, or it is removed already"
    exit 0
fi

tf_init
resources=$(look '<resources of the state>' terraform "-chdir=$INFRA" state list)
say "these will be removed from $PROJECT:"
say "${resources:-  nothing that Terraform knows}"
say "the bucket of the state, gs://$STATE_BUCKET"
confirm "Readings, archive and marts will be lost."
YES=1

if [[ $resources == *google_pubsub_subscription.ingest* || -n $DRY_RUN ]]; then
    region=$(tf_output region)
    job_name=$(look '{"job_name": "<job_name>"}' \
        terraform "-chdir=$INFRA" output -json dataflow_options |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["job_name"])')
    job=$(active_job "$region" "$job_name")
    if [[ -n $job || -n $DRY_RUN ]]; then
        end_job "$region" "${job:-<job>}" "$HOW"
    fi
fi

if [[ -n $resources ]]; then
    # What protects tables, databases and the content of buckets is taken off first, of what there
    # is: a deployment that ended half-way is not completed for it.
    collect_variables deletion_protection=false
    targets=()
    while IFS= read -r address; do
        case $address in
        google_bigquery_dataset.* | google_bigquery_table.* | google_storage_bucket.* | \
            google_cloud_run_v2_service.* | google_cloud_run_v2_job.* | \
            google_compute_disk.* | google_compute_instance.* | google_sql_database_instance.* | \
            '<'*)
            targets+=("-target=$address")
            ;;
        esac
    done <<<"$resources"
    if ((${#targets[@]})); then
        tf apply -input=false -auto-approve "${targets[@]}" "${VARIABLES[@]}"
    fi
    tf destroy -input=false -auto-approve "${VARIABLES[@]}"
fi

# What is left of a kind: left SERVICE COMMAND...
LEFT=""
left() {
    local found service=$1
    shift
    [[ -n $DRY_RUN || $ENABLED == *"$service.googleapis.com"* ]] || return 0
    found=$(look '' "$@")
    [[ -z $found ]] || LEFT+="$found"$'\n'
}

ENABLED=$(look '' gcloud services list --enabled --project "$PROJECT" --format 'value(config.name)')
region=${region:-us-central1}
of_project=(--project "$PROJECT")
labelled=(--filter 'labels.platform=ami')
left dataflow gcloud dataflow jobs list "${of_project[@]}" --status active --filter 'name~^ami' --format 'value(name)'
left pubsub gcloud pubsub subscriptions list "${of_project[@]}" "${labelled[@]}" --format 'value(name)'
left pubsub gcloud pubsub topics list "${of_project[@]}" "${labelled[@]}" --format 'value(name)'
left pubsub gcloud pubsub schemas list "${of_project[@]}" --filter 'name~/ami-' --format 'value(name)'
left storage gcloud storage buckets list "${of_project[@]}" "${labelled[@]}" --format 'value(name)'
left bigquery bq ls "--project_id=$PROJECT" --format=sparse --filter labels.platform:ami
left run gcloud run services list "${of_project[@]}" --filter 'metadata.name~^ami-' --format 'value(metadata.name)'
left run gcloud run jobs list "${of_project[@]}" --filter 'metadata.name~^ami-' --format 'value(metadata.name)'
left cloudscheduler gcloud scheduler jobs list "${of_project[@]}" --location "$region" --filter 'name~/ami-' --format 'value(name)'
left compute gcloud compute instances list "${of_project[@]}" --filter 'name~^ami-' --format 'value(name)'
left compute gcloud compute disks list "${of_project[@]}" --filter 'name~^ami-' --format 'value(name)'
left compute gcloud compute snapshots list "${of_project[@]}" --filter 'name~^ami-' --format 'value(name)'
left compute gcloud compute addresses list "${of_project[@]}" --filter 'name~^ami' --format 'value(name)'
left compute gcloud compute routers list "${of_project[@]}" --filter 'name~^ami' --format 'value(name)'
left compute gcloud compute firewall-rules list "${of_project[@]}" --filter 'name~^ami' --format 'value(name)'
left compute gcloud compute networks list "${of_project[@]}" --filter 'name=ami' --format 'value(name)'
left sqladmin gcloud sql instances list "${of_project[@]}" --filter 'name~^ami-' --format 'value(name)'
left secretmanager gcloud secrets list "${of_project[@]}" --filter 'name~ami-' --format 'value(name)'
left artifactregistry gcloud artifacts repositories list "${of_project[@]}" --filter 'name~/ami$' --format 'value(name)'
left logging gcloud logging metrics list "${of_project[@]}" --filter 'name~^ami_' --format 'value(name)'
left monitoring gcloud monitoring dashboards list "${of_project[@]}" --filter 'displayName="AMI 2.0"' --format 'value(name)'
left monitoring gcloud monitoring policies list "${of_project[@]}" --filter 'displayName~^AMI:' --format 'value(displayName)'
left iam gcloud iam service-accounts list "${of_project[@]}" --filter 'displayName~^AMI' --format 'value(email)'

[[ -z $LEFT ]] || die "this is left in $PROJECT; the state is kept, run this again:"$'\n'"$LEFT"
run gcloud storage rm --quiet --recursive "gs://$STATE_BUCKET"
say "nothing is left in $PROJECT but the services that are switched on"
