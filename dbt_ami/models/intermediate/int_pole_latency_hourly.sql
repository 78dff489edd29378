{{ restated_by_window('int_touched_windows', 'hour_ts') }}
with latencies as (
    select
        pole_id,
        {{ floor_time('event_ts', 3600) }} as hour_ts,
        ({{ epoch_us('ingest_ts') }} - {{ epoch_us('event_ts') }})
        / cast(1000000 as {{ type_double() }}) as latency_s
    from {{ ref('readings') }}
    where is_received and {{ touched('event_ts', 'int_touched_windows') }}
)

{{ group_quantiles(
    'latencies',
    ['pole_id', 'hour_ts'],
    'latency_s',
    {'latency_median_s': 0.5, 'latency_p95_s': 0.95}
) }}
