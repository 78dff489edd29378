with spans as (
    select
        pole_id,
        {{ epoch_us('start_ts') }} as from_us,
        {{ epoch_us('rebound_end_ts') }} as to_us
    from {{ ref('int_dr_event_poles') }}
),

slots as (
    {{ explode_range(
        'spans',
        int_div('from_us', 300000000),
        int_div('to_us - 1', 300000000),
        'slot_number'
    ) }}
)

select distinct
    pole_id,
    {{ timestamp_of_us('slot_number * 300000000') }} as slot_ts
from slots
