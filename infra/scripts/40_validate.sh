#!/usr/bin/env bash
# Looks whether readings come through: topic rate, backlog, rows of the last minutes, archive, dead
# letters, marts. Ends with status 1 when no reading has been stored lately.
#
#   infra/scripts/40_validate.sh --project PROJECT [--minutes 15]
#
#   --minutes N        how far to look back

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MINUTES=15
while (($#)); do
    case $1 in
    --minutes)
        [[ $# -ge 2 && $2 =~ ^[1-9][0-9]*$ ]] || wrong_call "--minutes needs a number"
        MINUTES=$2
        shift 2
        ;;
    *)
        common_option "$@"
        shift "$TAKEN"
        ;;
    esac
done
require_project

query() {
    look 1 bq query "--project_id=$PROJECT" --quiet --nouse_legacy_sql \
        --maximum_bytes_billed=10737418240 "$@"
}

# Newest points of a metric: metric TYPE FILTER ALIGNER
metric() {
    local start end token
    end=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    # Not `date -d`, which only GNU's has.
    start=$(python3 -c '
import sys, time
print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60 * int(sys.argv[1]))))' "$MINUTES")
    show gcloud auth print-access-token
    [[ -n $DRY_RUN ]] || token=$(gcloud auth print-access-token)
    show curl --fail "https://monitoring.googleapis.com/v3/projects/$PROJECT/timeSeries ($1)"
    [[ -n $DRY_RUN ]] || curl --fail --silent --show-error --get \
        --config <(printf 'header = "Authorization: Bearer %s"\n' "$token") \
        --data-urlencode "filter=metric.type=\"$1\" AND $2" \
        --data-urlencode "interval.startTime=$start" --data-urlencode "interval.endTime=$end" \
        --data-urlencode "aggregation.alignmentPeriod=60s" \
        --data-urlencode "aggregation.perSeriesAligner=$3" \
        "https://monitoring.googleapis.com/v3/projects/$PROJECT/timeSeries" |
        python3 -c '
import json, sys
series = json.load(sys.stdin).get("timeSeries", [])
points = [p["value"] for s in series for p in s["points"][:1]]
print(sum(float(next(iter(v.values()))) for v in points) if points else "no points yet")'
}

tf_init
dataset=$(tf_output bq_dataset)
topic=$(tf_output pubsub_topic)
subscription=$(tf_output pubsub_subscription)
archive=$(tf_output raw_archive_bucket_uri)
dead_letters=$(tf_output dlq_topic)

say "messages a second on $topic:"
metric pubsub.googleapis.com/topic/send_message_operation_count \
    "resource.labels.topic_id=\"$topic\"" ALIGN_RATE
say "messages that wait in $subscription:"
metric pubsub.googleapis.com/subscription/num_undelivered_messages \
    "resource.labels.subscription_id=\"$subscription\"" ALIGN_MEAN

say "readings of the last $MINUTES minutes, by pole:"
query "SELECT pole_id, COUNT(*) AS readings, COUNT(DISTINCT meter_id) AS meters,
    ROUND(AVG(voltage_v), 1) AS mean_voltage_v, MIN(voltage_v) AS min_voltage_v,
    MAX(event_ts) AS newest_event_ts,
    ROUND(AVG(TIMESTAMP_DIFF(ingest_ts, event_ts, MILLISECOND)) / 1000, 1) AS mean_latency_s
FROM \`$dataset.raw_meter_readings\`
WHERE event_ts >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL $MINUTES MINUTE)
GROUP BY pole_id ORDER BY pole_id LIMIT 20"
rows=$(query --format=csv "SELECT COUNT(*) FROM \`$dataset.raw_meter_readings\`
WHERE event_ts >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL $MINUTES MINUTE)" | tail -n 1)

say "newest folders of the archive:"
look '' gcloud storage ls "$archive/raw/" | tail -n 5

if [[ -n $dead_letters ]]; then
    say "some dead letters (they stay in the subscription):"
    look '' gcloud pubsub subscriptions pull "$dead_letters-sub" --project "$PROJECT" --limit 3 \
        --format 'value(message.attributes.code)'
fi

say "marts (after the first build):"
if holds bq show "--project_id=$PROJECT" "${dataset/./:}.voltage_events"; then
    query "SELECT severity, COUNT(*) AS events, ROUND(MIN(min_voltage_v), 1) AS min_voltage_v
FROM \`$dataset.voltage_events\`
WHERE start_ts >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)
GROUP BY severity ORDER BY severity"
else
    say "none yet: infra/scripts/60_deploy_dagster.sh --project $PROJECT"
fi

((rows > 0)) || die "no reading of the last $MINUTES minutes is stored: is the edge running (20) and the job (30)? Alerts and the dashboard of Cloud Monitoring tell where they wait"
say "$rows readings of the last $MINUTES minutes are stored"
