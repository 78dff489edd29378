with spans as (
    select
        outages.meter_id,
        outages.pole_id,
        {{ epoch_us('outages.start_ts') }} as from_us,
        {{ epoch_us('coalesce(outages.end_ts, lake.watermark_ts)') }} as to_us
    from {{ ref('outages') }} as outages
    cross join {{ ref('int_lake_range') }} as lake
),

slots as (
    {{ explode_range(
        'spans',
        int_div('from_us', 300000000),
        int_div('to_us - 1', 300000000),
        'slot_number'
    ) }}
)

select
    meter_id,
    pole_id,
    {{ timestamp_of_us('slot_number * 300000000') }} as slot_ts,
    sum({{ overlap_us(
        'from_us', 'to_us', 'slot_number * 300000000', '(slot_number + 1) * 300000000'
    ) }}) / cast(1000000 as {{ type_double() }}) as outage_s
from slots
group by meter_id, pole_id, slot_number
