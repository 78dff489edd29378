#!/usr/bin/env bash
# Looks whether this machine and the project are ready, switches the first services on and makes
# the bucket that keeps Terraform's state. Changes nothing when run again.
#
#   infra/scripts/00_prereq.sh --project PROJECT [--region us-central1]
#
#   --region REGION    where the bucket of the state lies

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

REGION=us-central1
while (($#)); do
    case $1 in
    --region)
        [[ $# -ge 2 ]] || wrong_call "--region needs a value"
        REGION=$2
        shift 2
        ;;
    *)
        common_option "$@"
        shift "$TAKEN"
        ;;
    esac
done
require_project

for command in gcloud bq terraform python3 git curl openssl; do
    command -v "$command" >/dev/null || die "$command is not installed (infra/README.md names where it comes from)"
done
[[ -x $BIN/python ]] || say "warning: there is no $BIN/python; 20 and 30 need it: make .venv/.runtime"
command -v java >/dev/null ||
    say "warning: java (11 or newer) is not installed; only bq_write_method storage_write_api needs it"

account=$(look '<account>' gcloud config get-value account)
[[ -n $account ]] || die "nobody is logged in: gcloud auth login, and gcloud auth application-default login"
run gcloud auth application-default print-access-token >/dev/null ||
    die "Terraform finds no credentials: gcloud auth application-default login"

run gcloud projects describe "$PROJECT" --format 'value(projectId)' >/dev/null ||
    die "the project $PROJECT does not exist, or $account may not see it"
billing=$(look True gcloud billing projects describe "$PROJECT" --format 'value(billingEnabled)')
[[ ${billing,,} == true ]] || die "billing is off in $PROJECT: link a billing account first"

run gcloud services enable --project "$PROJECT" \
    cloudresourcemanager.googleapis.com iam.googleapis.com serviceusage.googleapis.com \
    storage.googleapis.com

if ! holds gcloud storage buckets describe "gs://$STATE_BUCKET"; then
    run gcloud storage buckets create "gs://$STATE_BUCKET" --project "$PROJECT" \
        --location "$REGION" --uniform-bucket-level-access --public-access-prevention
fi
run gcloud storage buckets update "gs://$STATE_BUCKET" --versioning

say "ready: $PROJECT as $account; next infra/scripts/10_deploy.sh --project $PROJECT"
