with events as (
    select
        meter_id,
        epoch,
        first_seq,
        pole_id,
        start_ts,
        sample_interval_ms
    from {{ ref('int_low_runs') }}
    where {{ is_sag_event('(last_seq - first_seq + 1)', 'sample_interval_ms') }}
),

steps as (
    {{ steps_between_starts('events', 'pole_id', ['meter_id', 'first_seq']) }}
),

numbered as (
    {{ numbered_start_groups('steps', 'pole_id', ['meter_id', 'first_seq']) }}
),

begun as (
    select
        *,
        min({{ epoch_us('start_ts') }}) over (partition by pole_id, group_number) as group_start_us
    from numbered
)

select
    meter_id,
    epoch,
    first_seq,
    pole_id,
    start_ts,
    sample_interval_ms,
    {{ text_hash(['pole_id', 'group_start_us']) }} as pole_event_id
from begun
