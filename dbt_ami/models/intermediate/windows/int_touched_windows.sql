{{ config(post_hook="{{ note_unfinished() }}") }}
{%- set period_columns = [
    'meter_id', 'epoch', 'sample_interval_ms', 'nominal_voltage_v', 'transformer_id', 'feeder_id',
    'valid_from', 'valid_to',
] -%}
{%- set conflict_columns = ['meter_id', 'epoch', 'seq', 'event_ts'] -%}
with changed_period_hours as (
    {{ hours_with_changed_spans('int_meter_periods', period_columns, 'valid_from', 'valid_to') }}
),

changed_conflicts as (
    {{ changed_rows(
        ref('int_seq_conflicts'), built('int_seq_conflicts', conflict_columns), conflict_columns
    ) }}
)

select window_ts from {{ ref('int_interval_windows') }}
union distinct
select {{ window_of('hour_ts') }} as window_ts from changed_period_hours
union distinct
select {{ window_of('event_ts') }} as window_ts from changed_conflicts
