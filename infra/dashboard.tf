locals {
  # Chart: title, unit, series (filter, aligner, reducer, labels to keep apart).
  charts = concat([
    {
      title   = "Ingest rate: messages a second"
      filter  = "metric.type=\"pubsub.googleapis.com/topic/send_message_operation_count\" AND resource.type=\"pubsub_topic\" AND resource.labels.topic_id=\"${var.pubsub_topic}\""
      aligner = "ALIGN_RATE"
      reducer = "REDUCE_SUM"
      by      = []
    },
    {
      title   = "Backlog: messages that wait"
      filter  = "metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND ${local.subscription_filter}"
      aligner = "ALIGN_MEAN"
      reducer = "REDUCE_SUM"
      by      = []
    },
    {
      title   = "Backlog: age of the oldest message, s"
      filter  = "metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND ${local.subscription_filter}"
      aligner = "ALIGN_MAX"
      reducer = "REDUCE_MAX"
      by      = []
    },
    {
      title   = "Lag of the Dataflow job, s"
      filter  = "metric.type=\"dataflow.googleapis.com/job/system_lag\" AND ${local.job_filter}"
      aligner = "ALIGN_MAX"
      reducer = "REDUCE_MAX"
      by      = []
    },
    {
      title   = "Counters of the ingest (stored, refused.…, warehouse_rows, …)"
      filter  = "metric.type=\"dataflow.googleapis.com/job/user_counter\" AND ${local.job_filter}"
      aligner = "ALIGN_MAX"
      reducer = "REDUCE_MAX"
      by      = ["metric.label.metric_name"]
    },
    {
      title   = "Average voltage per pole, V"
      filter  = "metric.type=\"logging.googleapis.com/user/ami_pole_voltage_v\" AND ${local.figures_filter}"
      aligner = "ALIGN_DELTA"
      reducer = "REDUCE_MEAN"
      by      = ["metric.label.pole_id"]
    },
    {
      title   = "Sag events of the last hour"
      filter  = "metric.type=\"logging.googleapis.com/user/ami_sag_events\" AND ${local.figures_filter}"
      aligner = "ALIGN_DELTA"
      reducer = "REDUCE_MEAN"
      by      = []
    },
    {
      title   = "Health per pole, 0 to 100"
      filter  = "metric.type=\"logging.googleapis.com/user/ami_pole_health\" AND ${local.figures_filter}"
      aligner = "ALIGN_DELTA"
      reducer = "REDUCE_MEAN"
      by      = ["metric.label.pole_id"]
    },
    {
      title   = "Active meters"
      filter  = "metric.type=\"logging.googleapis.com/user/ami_active_meters\" AND ${local.figures_filter}"
      aligner = "ALIGN_DELTA"
      reducer = "REDUCE_MEAN"
      by      = []
    },
    {
      title   = "Age of the newest reading in the marts, s"
      filter  = "metric.type=\"logging.googleapis.com/user/ami_marts_age_s\" AND ${local.figures_filter}"
      aligner = "ALIGN_DELTA"
      reducer = "REDUCE_MEAN"
      by      = []
    },
    {
      title   = "API: requests a second by class of answer"
      filter  = "metric.type=\"run.googleapis.com/request_count\" AND ${local.api_filter}"
      aligner = "ALIGN_RATE"
      reducer = "REDUCE_SUM"
      by      = ["metric.label.response_code_class"]
    },
    ], var.enable_dead_letter ? [{
      title   = "Dead letters a second"
      filter  = "metric.type=\"pubsub.googleapis.com/topic/send_message_operation_count\" AND resource.type=\"pubsub_topic\" AND resource.labels.topic_id=\"${var.dlq_topic}\""
      aligner = "ALIGN_RATE"
      reducer = "REDUCE_SUM"
      by      = []
  }] : [])
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = jsonencode({
    displayName = "AMI 2.0"
    mosaicLayout = {
      columns = 48
      tiles = [
        for number, chart in local.charts : {
          xPos   = number % 2 * 24
          yPos   = floor(number / 2) * 12
          width  = 24
          height = 12
          widget = {
            title = chart.title
            xyChart = {
              dataSets = [{
                plotType   = "LINE"
                targetAxis = "Y1"
                timeSeriesQuery = {
                  timeSeriesFilter = {
                    filter = chart.filter
                    aggregation = merge(
                      {
                        alignmentPeriod    = chart.reducer == "REDUCE_MEAN" ? "600s" : "60s"
                        perSeriesAligner   = chart.aligner
                        crossSeriesReducer = chart.reducer
                      },
                      length(chart.by) == 0 ? {} : { groupByFields = chart.by },
                    )
                  }
                }
              }]
            }
          }
        }
      ]
    }
  })

  depends_on = [google_logging_metric.figures]
}
