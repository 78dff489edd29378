{#-
  The longest sample interval of any meter, now or at the last complete build: one row with
  `sample_interval_ms`. A reading covers time beyond its window for as long.
-#}
{%- macro longest_interval() -%}
(
    select max(sample_interval_ms) as sample_interval_ms
    from (
        select sample_interval_ms from {{ ref('int_meter_intervals') }}
        union all
        select sample_interval_ms
        from {{ built('int_meter_intervals', ['sample_interval_ms']) }} as built
    ) as intervals
)
{%- endmacro -%}
