with latencies as (
    select
        pole_id,
        {{ floor_time('event_ts', 86400) }} as day_ts,
        ({{ epoch_us('ingest_ts') }} - {{ epoch_us('event_ts') }})
        / cast(1000000 as {{ type_double() }}) as latency_s
    from {{ ref('readings') }}
    where is_received
)

{{ group_quantiles(
    'latencies',
    ['pole_id', 'day_ts'],
    'latency_s',
    {'latency_median_s': 0.5, 'latency_p95_s': 0.95}
) }}
