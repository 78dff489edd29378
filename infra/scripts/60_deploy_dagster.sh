#!/usr/bin/env bash
# Deploys what builds the marts, as the variable `orchestrator` says: Dagster on a machine
# (dagster_vm) or on Cloud Run (dagster_cloud_run), or dbt by Cloud Scheduler (cloud_scheduler).
#
#   infra/scripts/60_deploy_dagster.sh --project PROJECT

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

while (($#)); do
    common_option "$@"
    shift "$TAKEN"
done
require_project

on_machine() {
    run gcloud compute ssh ami-dagster --project "$PROJECT" --zone "$1" --tunnel-through-iap \
        --quiet --command "$2"
}

deploy_on_machine() {
    local before zone address
    before=$(tf_output dagster)
    address=$(release)
    tf_apply "dagster_release=$address"
    zone=$(tf_output dagster)
    zone=${zone##*:}
    if [[ $before == vm:* ]]; then
        # A machine that starts for the first time does it by itself.
        on_machine "$zone" "sudo google_metadata_script_runner startup"
    fi
    if [[ -z $DRY_RUN ]]; then
        for _ in $(seq 60); do
            on_machine "$zone" "systemctl is-active --quiet ami-daemon" && break
            sleep "$POLL_S"
        done || die "Dagster does not run after 15 minutes: gcloud compute instances get-serial-port-output ami-dagster --zone $zone"
    fi
    say "deployed; its UI: gcloud compute ssh ami-dagster --project $PROJECT --zone $zone --tunnel-through-iap -- -L 3000:127.0.0.1:3000, then http://127.0.0.1:3000"
}

deploy_on_cloud_run() {
    local platform connection password region
    # The database comes first: the service starts with its address.
    # shellcheck disable=SC2119  # no variable is set beside those of the file
    tf_apply
    if ! has_version ami-dagster-database-url; then
        connection=$(tf_output dagster_sql_instance)
        password=$(openssl rand -hex 24)
        show gcloud sql users create ami --project "$PROJECT" --instance "${connection##*:}" \
            --password '<password>'
        [[ -n $DRY_RUN ]] || gcloud sql users create ami --project "$PROJECT" \
            --instance "${connection##*:}" --password "$password"
        printf 'postgresql+psycopg2://ami:%s@/dagster?host=/cloudsql/%s' "$password" "$connection" |
            add_version ami-dagster-database-url
    fi
    platform=$(image platform "$(code_version)" platform.yaml)
    tf_apply "dagster_image=$platform"
    region=$(tf_output region)
    say "deployed; its UI: gcloud run services proxy ami-dagster --project $PROJECT --region $region --port 3000, then http://127.0.0.1:3000"
}

deploy_by_scheduler() {
    local platform region
    platform=$(image platform "$(code_version)" platform.yaml)
    tf_apply "dagster_image=$platform"
    region=$(tf_output region)
    say "deployed; a first build: gcloud run jobs execute ami-dbt --project $PROJECT --region $region"
}

tf_init
orchestrator=$(tf_output orchestrator)
case $orchestrator in
dagster_cloud_run) deploy_on_cloud_run ;;
cloud_scheduler) deploy_by_scheduler ;;
none) die "the variable orchestrator is none: there is nothing to deploy" ;;
# A dry run knows no state and shows the default.
*) deploy_on_machine ;;
esac
say "next infra/scripts/40_validate.sh --project $PROJECT"
