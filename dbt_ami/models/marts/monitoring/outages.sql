{{ config(partition_by=by_day('start_ts'), cluster_by=['pole_id', 'meter_id']) }}
select
    {{ text_hash(['meter_id', epoch_us('start_ts'), 'gasp_seq']) }} as outage_id,
    meter_id,
    pole_id,
    feeder_id,
    start_ts,
    case when ended_by != 'open' then until_ts end as end_ts,
    until_ts,
    ({{ epoch_us('until_ts') }} - {{ epoch_us('start_ts') }})
    / cast(1000000 as {{ type_double() }}) as duration_s,
    ended_by,
    ended_by = 'open' as is_open,
    gasp_voltage_v,
    sample_interval_ms / cast(1000 as {{ type_double() }}) as sample_interval_s
from {{ ref('int_outages') }}
