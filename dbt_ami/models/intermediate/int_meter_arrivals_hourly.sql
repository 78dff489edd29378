{{ restated_by_window('int_touched_windows', 'hour_ts') }}
with judged as (
    select
        readings.meter_id,
        readings.pole_id,
        readings.copies,
        readings.conflicting_copies,
        {{ floor_time('readings.event_ts', 3600) }} as hour_ts,
        repeated.meter_id is not null as is_repeated_seq,
        {{ is_received('readings.quality_flags') }} as is_received,
        {{ has_flag('readings.quality_flags', 'estimated') }} as is_estimated,
        {{ is_late('readings.event_ts', 'readings.ingest_ts') }} as is_late
    from {{ ref('stg_readings') }} as readings
    left join {{ ref('int_seq_conflicts') }} as repeated
        on
            readings.meter_id = repeated.meter_id
            and readings.seq = repeated.seq
            and readings.event_ts = repeated.event_ts
    where {{ touched('readings.event_ts', 'int_touched_windows') }}
)

select
    meter_id,
    pole_id,
    hour_ts,
    cast(sum(copies) as {{ dbt.type_bigint() }}) as stored_rows,
    cast(sum(copies) as {{ dbt.type_bigint() }}) - count(*) as duplicates,
    cast(sum(conflicting_copies) as {{ dbt.type_bigint() }}) as conflicting_copies,
    {{ count_where('is_repeated_seq') }} as repeated_seq,
    {{ count_where('not is_repeated_seq and is_received') }} as received,
    {{ count_where('not is_repeated_seq and is_estimated') }} as estimated_readings,
    {{ count_where('not is_repeated_seq and not is_received and not is_estimated') }}
        as placeholder_readings,
    {{ count_where('not is_repeated_seq and is_received and is_late') }} as late
from judged
group by meter_id, pole_id, hour_ts
