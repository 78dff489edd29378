{#-
  One row per (meter_id, seq, event_ts) with `copies` (how many were stored) and
  `conflicting_copies` (how many of them differ from the row that was kept).

  DuckDB reads the compacted hours, which are deduplicated already. BigQuery deduplicates the days
  that this run restates: the first in copy_order wins.
-#}
{%- macro deduplicated_readings() -%}
{{ return(adapter.dispatch('deduplicated_readings', 'ami')()) }}
{%- endmacro -%}

{%- macro reading_columns() -%}
{{ return([
    'event_ts', 'meter_id', 'pole_id', 'seq', 'voltage_v', 'current_a', 'power_kw',
    'reactive_kvar', 'freq_hz', 'quality_flags', 'network_profile', 'gateway_id',
    'gateway_ingest_ts', 'batch_id', 'ingest_ts', 'event_date',
]) }}
{%- endmacro -%}

{%- macro default__deduplicated_readings() -%}
with copies as (
    select
        {{ reading_columns() | join(',\n        ') }},
        to_json_string(
            struct(voltage_v, current_a, power_kw, reactive_kvar, freq_hz, quality_flags)
        ) as payload
    from {{ source('lake', 'raw_meter_readings') }}
    where {{ touched('event_ts', 'int_landed_windows') }}
),

ranked as (
    select
        *,
        row_number() over copy_order as copy_rank,
        count(*) over (partition by meter_id, seq, event_ts) as copies,
        first_value(payload) over copy_order as kept_payload
    from copies
    window copy_order as (
        partition by meter_id, seq, event_ts
        order by {{ copy_order() }}
    )
),

kept as (
    select
        {{ reading_columns() | join(',\n        ') }},
        copies,
        {{ count_where('payload != kept_payload') }}
            over (partition by meter_id, seq, event_ts) as conflicting_copies
    from ranked
    qualify copy_rank = 1
)

select
    {{ reading_columns() | join(',\n    ') }},
    copies,
    conflicting_copies,
    nullif(array_to_string(quality_flags, ','), '') as flag_text,
    seq - lag(seq) over beside as seq_step_before,
    lead(seq) over beside - seq as seq_step_after
from kept
window beside as (
    partition by meter_id, {{ floor_time('event_ts', 3600) }}
    order by event_ts, seq
)
{%- endmacro -%}

{%- macro duckdb__deduplicated_readings() -%}
select
    {{ reading_columns() | join(',\n    ') }},
    copies,
    conflicting_copies,
    flag_text,
    seq_step_before,
    seq_step_after
from {{ source('lake', 'compacted_readings') }}
{%- endmacro -%}
