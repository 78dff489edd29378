{#-
  CTEs up to `low_runs`, one row per low run of any length, from `low` (low readings with the columns
  of int_low_readings, without the steps of seq) and `neighbours` (meter_id, epoch, seq, event_ts of received readings between
  and right beside them): neighbouring low readings of an epoch are one run when may_join_low_run
  holds and nothing was observed between them.
-#}
{%- macro low_runs(low, neighbours) -%}
{%- set is_of_epoch = 'lag(meter_id) over in_order = meter_id and lag(epoch) over in_order = epoch' -%}
low_steps as (
    select
        *,
        case when {{ is_of_epoch }} then seq - lag(seq) over in_order end as seq_step,
        case
            when {{ is_of_epoch }}
                then {{ epoch_us('event_ts') }} - lag({{ epoch_us('event_ts') }}) over in_order
        end as us_step
    from {{ low }}
    window in_order as ({{ in_order_of_epochs() }})
),

{{ refuted_gaps('low_steps', neighbours) }},

numbered as (
    select
        low_steps.*,
        sum(
            case
                when
                    refuted_gaps.meter_id is null
                    and {{ may_join_low_run(
                        'low_steps.seq_step', 'low_steps.us_step', 'low_steps.sample_interval_ms'
                    ) }}
                    then 0
                else 1
            end
        ) over (
            {{ in_order_of_epochs('low_steps.') }}
            rows between unbounded preceding and current row
        ) as run_number
    from low_steps
    left join refuted_gaps
        on
            low_steps.meter_id = refuted_gaps.meter_id
            and low_steps.epoch = refuted_gaps.epoch
            and low_steps.seq = refuted_gaps.seq
),

runs as (
    select
        meter_id,
        epoch,
        min(seq) as first_seq,
        max(seq) as last_seq,
        min_by(event_ts, seq) as start_ts,
        max_by(event_ts, seq) as end_ts,
        min_by(pole_id, seq) as pole_id,
        {{ first_text('feeder_id', 'seq') }} as feeder_id,
        min_by(nominal_voltage_v, seq) as nominal_voltage_v,
        min(sample_interval_ms) as sample_interval_ms,
        count(*) as sample_count,
        min(voltage_v) as min_voltage_v,
        sum(voltage_v) as voltage_sum_v,
        max(case when is_last_gasp then seq end) as last_gasp_seq,
        max(
            case
                when
                    voltage_v
                    >= {{ number_var('ieee1159_interruption_pu') }} * nominal_voltage_v
                    then seq
            end
        ) as last_powered_seq
    from numbered
    group by meter_id, epoch, run_number
),

low_runs as (
    select
        runs.meter_id,
        runs.epoch,
        runs.first_seq,
        runs.last_seq,
        runs.start_ts,
        runs.end_ts,
        runs.pole_id,
        runs.feeder_id,
        runs.nominal_voltage_v,
        runs.sample_interval_ms,
        runs.sample_count,
        runs.last_seq - runs.first_seq + 1 - runs.sample_count as missing_count,
        (runs.last_seq - runs.first_seq + 1)
        * runs.sample_interval_ms / cast(1000 as {{ type_double() }}) as duration_s,
        runs.min_voltage_v,
        runs.voltage_sum_v,
        coalesce(
            {{ clock_runs_on(
                '1',
                epoch_us('runs.start_ts') ~ ' - ' ~ epoch_us('reading_before.event_ts'),
                'runs.sample_interval_ms'
            ) }},
            false
        ) as begins_after_reading,
        coalesce(
            {{ clock_runs_on(
                '1',
                epoch_us('reading_after.event_ts') ~ ' - ' ~ epoch_us('runs.end_ts'),
                'runs.sample_interval_ms'
            ) }},
            false
        ) as ends_before_reading,
        coalesce(runs.last_gasp_seq >= coalesce(runs.last_powered_seq, -1), false)
            as ends_in_outage
    from runs
    left join {{ neighbours }} as reading_before
        on
            runs.meter_id = reading_before.meter_id
            and runs.epoch = reading_before.epoch
            and runs.first_seq - 1 = reading_before.seq
    left join {{ neighbours }} as reading_after
        on
            runs.meter_id = reading_after.meter_id
            and runs.epoch = reading_after.epoch
            and runs.last_seq + 1 = reading_after.seq
)
{%- endmacro -%}
