#!/usr/bin/env bash
# Deploys API, dashboard and figures on Cloud Run: builds their image, makes a first key for the
# API, applies, asks the API. api_invokers must name who may call them.
#
#   infra/scripts/50_deploy_api.sh --project PROJECT

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

while (($#)); do
    common_option "$@"
    shift "$TAKEN"
done
require_project

tf_init
if ! has_version ami-api-keys; then
    openssl rand -hex 24 | add_version ami-api-keys
fi
platform=$(image platform "$(code_version)" platform.yaml)
tf_apply "api_image=$platform"

url=$(tf_output api_url)
show curl --fail "$url/health"
if [[ -z $DRY_RUN ]]; then
    token=$(gcloud auth print-identity-token)
    curl --fail --silent --show-error --retry 5 --retry-all-errors \
        --config <(printf 'header = "Authorization: Bearer %s"\n' "$token") "$url/health" >&2 ||
        die "the API does not answer you: does api_invokers name you? (infra/README.md)"
fi
region=$(tf_output region)
cat >&2 <<TEXT
deployed: $url
  curl -H "Authorization: Bearer \$(gcloud auth print-identity-token)" \\
    -H "X-API-Key: \$(gcloud secrets versions access latest --secret ami-api-keys --project $PROJECT)" $url/poles
  gcloud run services proxy ami-dashboard --project $PROJECT --region $region --port 8501
next infra/scripts/60_deploy_dagster.sh --project $PROJECT
TEXT
