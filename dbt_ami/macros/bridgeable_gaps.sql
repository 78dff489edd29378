{#-
  CTEs `gaps` and `gap_samples`: the gaps in seq that a run of the CTE `readings` (meter_id, epoch,
  seq, seq_step, us_step, sample_interval_ms) may bridge, if nothing was observed inside them, and
  each missing seq of them (`probe_seq`).
-#}
{%- macro bridgeable_gaps(readings, condition=none) -%}
gaps as (
    select
        meter_id,
        epoch,
        seq,
        seq_step
    from {{ readings }}
    where
        seq_step > 1
        and {{ may_join_low_run('seq_step', 'us_step', 'sample_interval_ms') }}
        {%- if condition %}
        and {{ condition }}
        {%- endif %}
),

gap_samples as (
    {{ explode_range('gaps', 'seq - seq_step + 1', 'seq - 1', 'probe_seq') }}
)
{%- endmacro -%}
