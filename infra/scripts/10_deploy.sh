#!/usr/bin/env bash
# Makes everything that Terraform makes, or brings it up to date. What scripts 20 to 60 have
# deployed stays. Keeps the variables for the scripts that follow.
#
#   infra/scripts/10_deploy.sh --project PROJECT --var-file infra/examples/demo.tfvars

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

while (($#)); do
    common_option "$@"
    shift "$TAKEN"
done
require_project

[[ -n $DRY_RUN ]] || holds gcloud storage buckets describe "gs://$STATE_BUCKET" ||
    die "there is no bucket $STATE_BUCKET for the state: run 00_prereq.sh first"
tf_init
tf validate
if [[ -n $VAR_FILE ]]; then
    run gcloud storage cp --quiet "$VAR_FILE" "$SAVED_VAR_FILE"
fi
# shellcheck disable=SC2119  # no variable is set beside those of the file
tf_apply
tf output
say "made; it costs money from now on (infra/README.md). Next infra/scripts/30_launch_dataflow.sh --project $PROJECT"
