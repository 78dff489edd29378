# shellcheck shell=bash
# Variables are for the scripts that source it.
# shellcheck disable=SC2034
# Common to the scripts of this folder, which source it. Nothing here runs by itself.
((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || {
    echo "error: bash 4.4 or newer is needed; this is $BASH_VERSION" >&2
    exit 2
}
set -euo pipefail
# A command that fails inside $(…) ends the script too.
shopt -s inherit_errexit

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
INFRA=$ROOT/infra
# Programs of the project's environment.
BIN=${AMI_BIN:-$ROOT/.venv/bin}
# Seconds between two looks at something that takes its time.
POLL_S=${AMI_POLL_S:-15}

PROJECT=""
VAR_FILE=""
DRY_RUN=""
YES=""
# Arguments that common_option has taken.
TAKEN=0

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

wrong_call() {
    say "error: $*; --help tells more"
    exit 2
}

# The comment at the top of the script is its help.
show_help() {
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0"
    cat <<'OPTIONS'

Options of all scripts:
  --project PROJECT  Google Cloud project; must be named, no default is taken from anywhere
  --var-file FILE    Terraform variables; default: those of the last 10_deploy.sh
  --dry-run          print every command, run none
  --yes              ask nothing
  --help             this text
OPTIONS
}

# One option that all scripts have, given "$@"; sets TAKEN to what it took.
common_option() {
    TAKEN=1
    case $1 in
    --dry-run) DRY_RUN=1 ;;
    --yes) YES=1 ;;
    -h | --help)
        show_help
        exit 0
        ;;
    --project | --var-file)
        [[ $# -ge 2 && -n $2 ]] || wrong_call "$1 needs a value"
        if [[ $1 == --project ]]; then PROJECT=$2; else VAR_FILE=$(realpath -- "$2"); fi
        TAKEN=2
        ;;
    *) wrong_call "unknown option $1" ;;
    esac
}

require_project() {
    [[ -n $PROJECT ]] || wrong_call "--project is missing: name the project that is meant"
    [[ $PROJECT =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] || wrong_call "$PROJECT is no project id"
    [[ -z $VAR_FILE || -f $VAR_FILE ]] || wrong_call "there is no file $VAR_FILE"
    STATE_BUCKET=ami-tfstate-$PROJECT
    SAVED_VAR_FILE=gs://$STATE_BUCKET/ami/deploy.tfvars
    SCRATCH=$(mktemp -d)
    trap 'rm -rf "$SCRATCH"' EXIT
}

show() {
    local words
    printf -v words '%q ' "$@"
    say "+ ${words% }"
}

# Shows a command and runs it.
run() {
    show "$@"
    [[ -n $DRY_RUN ]] || "$@"
}

# Shows a command that only looks and gives what it prints; in a dry run <PLACEHOLDER>.
look() {
    local placeholder=$1
    shift
    show "$@"
    if [[ -n $DRY_RUN ]]; then printf '%s\n' "$placeholder"; else "$@"; fi
}

# Whether a command that only looks succeeds; in a dry run it does not, so that what follows shows.
holds() {
    show "$@"
    [[ -z $DRY_RUN ]] && "$@" >/dev/null 2>&1
}

confirm() {
    [[ -z $DRY_RUN && -z $YES ]] || return 0
    [[ -t 0 ]] || die "$1 Nobody is there to answer: run it again with --yes"
    local answer
    read -r -p "$1 Type the project's name to go on: " answer
    [[ $answer == "$PROJECT" ]] || die "not confirmed; nothing was changed"
}

# Terraform

tf() { run terraform "-chdir=$INFRA" "$@"; }

tf_init() {
    tf init -input=false -reconfigure \
        "-backend-config=bucket=$STATE_BUCKET" "-backend-config=prefix=ami"
}

tf_output() { look "<$1>" terraform "-chdir=$INFRA" output -raw "$1"; }

# Lists the variables in VARIABLES: the project, the file, what earlier scripts deployed, and the
# arguments (NAME=VALUE), which win.
collect_variables() {
    VARIABLES=("-var=project_id=$PROJECT")
    if [[ -z $VAR_FILE ]] && holds gcloud storage ls "$SAVED_VAR_FILE"; then
        VAR_FILE=$SCRATCH/deploy.tfvars
        run gcloud storage cp --quiet "$SAVED_VAR_FILE" "$VAR_FILE"
    fi
    [[ -z $VAR_FILE ]] || VARIABLES+=("-var-file=$VAR_FILE")
    local kept line
    kept=$(look '{}' terraform "-chdir=$INFRA" output -json)
    kept=$(python3 -c '
import json, sys
deployed = json.load(sys.stdin).get("deployed", {}).get("value", {})
for name, value in sorted(deployed.items()):
    if value:
        print(f"-var={name}={value}")' <<<"$kept")
    while IFS= read -r line; do
        [[ -z $line ]] || VARIABLES+=("$line")
    done <<<"$kept"
    for line in "$@"; do VARIABLES+=("-var=$line"); done
}

# Plans, asks, applies.
tf_apply() {
    collect_variables "$@"
    tf plan -input=false "-out=$SCRATCH/plan" "${VARIABLES[@]}"
    confirm "Terraform will do this in $PROJECT."
    tf apply -input=false "$SCRATCH/plan"
}

# Code

# Name of the code as it stands, for tags; uncommitted changes give another every time.
code_version() {
    local version
    version=$(git -C "$ROOT" rev-parse --short=12 HEAD)
    if [[ -n $(git -C "$ROOT" status --porcelain) ]]; then
        version=$version-changed-$(date -u +%Y%m%d%H%M%S)
    fi
    printf '%s\n' "$version"
}

# Builds an image unless it is there; gives its name with its digest.
#   image NAME TAG FILE [SUBSTITUTION=VALUE ...]
image() {
    local reference substitutions bucket region name=$1 tag=$2 file=$3
    shift 3
    reference=$(tf_output image_repository)/$name:$tag
    if ! holds gcloud artifacts docker images describe "$reference" --project "$PROJECT"; then
        bucket=$(tf_output artifact_bucket_uri)
        region=$(tf_output region)
        substitutions=$(IFS=, && printf '%s' "$*")
        run gcloud builds submit "$ROOT" --project "$PROJECT" --region "$region" --quiet \
            --config "$INFRA/cloudbuild/$file" \
            --service-account "projects/$PROJECT/serviceAccounts/build-sa@$PROJECT.iam.gserviceaccount.com" \
            --gcs-source-staging-dir "$bucket/builds" \
            --substitutions "_IMAGE=$reference${substitutions:+,$substitutions}" >&2
    fi
    look "$reference" gcloud artifacts docker images describe "$reference" --project "$PROJECT" \
        --format 'value(image_summary.fully_qualified_digest)'
}

# Puts the committed source where machines fetch it; gives its address.
release() {
    local version target
    version=$(git -C "$ROOT" rev-parse --short=12 HEAD)
    [[ -z $(git -C "$ROOT" status --porcelain) ]] ||
        say "warning: uncommitted changes are not part of the release $version"
    target=$(tf_output artifact_bucket_uri)/releases/ami-$version.tar.gz
    if ! holds gcloud storage ls "$target"; then
        run git -C "$ROOT" archive --format=tar.gz "--output=$SCRATCH/release.tar.gz" HEAD >&2
        run gcloud storage cp --quiet "$SCRATCH/release.tar.gz" "$target" >&2
    fi
    printf '%s\n' "$target"
}

# Secrets

has_version() {
    local found
    found=$(look '' gcloud secrets versions list "$1" --project "$PROJECT" \
        --filter 'state=enabled' --limit 1 --format 'value(name)') ||
        die "the secret $1 cannot be asked for"
    [[ -n $found ]]
}

# Adds what stands on standard input as the newest version of a secret.
add_version() {
    show gcloud secrets versions add "$1" --project "$PROJECT" --data-file=-
    if [[ -n $DRY_RUN ]]; then cat >/dev/null; else
        gcloud secrets versions add "$1" --project "$PROJECT" --data-file=- >/dev/null
    fi
}

# Dataflow

# Id of the job of that name that has not ended, empty without one.
active_job() {
    look '' gcloud dataflow jobs list --project "$PROJECT" --region "$1" --status active \
        --filter "name=$2" --limit 1 --format 'value(id)'
}

job_state() {
    look Running gcloud dataflow jobs describe "$2" --project "$PROJECT" --region "$1" \
        --format 'value(currentState)'
}

# Ends a job and waits until it has: end_job REGION ID drain|cancel
end_job() {
    local state waited=0 region=$1 id=$2 how=$3
    run gcloud dataflow jobs "$how" "$id" --project "$PROJECT" --region "$region"
    [[ -z $DRY_RUN ]] || return 0
    while true; do
        state=$(job_state "$region" "$id")
        case $state in
        *DRAINED | *CANCELLED | *DONE | *UPDATED) return 0 ;;
        *FAILED) die "the job $id has failed instead of ending; see its log" ;;
        esac
        ((waited < 3600)) || die "the job $id is $state after an hour; run this again to wait on"
        sleep "$POLL_S"
        waited=$((waited + POLL_S + 1))
    done
}
