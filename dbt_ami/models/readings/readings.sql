-- A view has no partitions; this names those of stg_readings, by which BigQuery wants a condition.
{{ config(partition_by=by_day('event_ts'), require_partition_filter=true) }}
select
    deduplicated.meter_id,
    deduplicated.event_ts,
    deduplicated.seq,
    deduplicated.pole_id,
    deduplicated.voltage_v,
    deduplicated.current_a,
    deduplicated.power_kw,
    deduplicated.reactive_kvar,
    deduplicated.freq_hz,
    deduplicated.quality_flags,
    periods.transformer_id,
    periods.feeder_id,
    deduplicated.network_profile,
    deduplicated.gateway_id,
    deduplicated.gateway_ingest_ts,
    deduplicated.batch_id,
    deduplicated.ingest_ts,
    deduplicated.event_date,
    deduplicated.copies,
    deduplicated.conflicting_copies,
    coalesce(periods.epoch, 0) as epoch,
    coalesce(
        periods.sample_interval_ms,
        {{ (var('sample_interval_s_default') * 1000) | round | int }}
    ) as sample_interval_ms,
    coalesce(
        periods.sample_interval_ms / cast(1000 as {{ type_double() }}),
        {{ number_var('sample_interval_s_default') }}
    ) as sample_interval_s,
    coalesce(periods.nominal_voltage_v, {{ number_var('nominal_voltage_v_default') }})
        as nominal_voltage_v,
    {{ is_received('deduplicated.flag_text') }} as is_received,
    deduplicated.flag_text,
    deduplicated.seq_step_before,
    deduplicated.seq_step_after,
    {{ is_late('deduplicated.event_ts', 'deduplicated.ingest_ts') }} as is_late
from {{ ref('stg_readings') }} as deduplicated
left join {{ ref('int_meter_periods') }} as periods
    on
        deduplicated.meter_id = periods.meter_id
        and deduplicated.event_ts >= periods.valid_from
        and deduplicated.event_ts < periods.valid_to
left join {{ ref('int_seq_conflicts') }} as conflicts
    on
        deduplicated.meter_id = conflicts.meter_id
        and deduplicated.seq = conflicts.seq
        and deduplicated.event_ts = conflicts.event_ts
where conflicts.meter_id is null
