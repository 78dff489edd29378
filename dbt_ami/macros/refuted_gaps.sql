{#-
  CTEs of bridgeable_gaps and `refuted_gaps`: those in which a reading of `neighbours` (meter_id,
  epoch, seq) was observed, by the meter_id, epoch and seq of the reading that ends them.
-#}
{%- macro refuted_gaps(readings, neighbours) -%}
{{ bridgeable_gaps(readings) }},

refuted_gaps as (
    select distinct
        gap_samples.meter_id,
        gap_samples.epoch,
        gap_samples.seq
    from gap_samples
    inner join {{ neighbours }} as observed
        on
            gap_samples.meter_id = observed.meter_id
            and gap_samples.epoch = observed.epoch
            and gap_samples.probe_seq = observed.seq
)
{%- endmacro -%}
