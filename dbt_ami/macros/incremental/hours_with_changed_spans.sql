{#-
  Hours (`hour_ts`) with readings in which the rows of `model`, each valid from `from_column` to
  `to_column` (exclusive), say something else than those of the last complete build. Rows are
  compared as cut to the hour: a row that ends later than it did changes no hour before its end.
  No row where there is nothing to compare with.

  Hours are those in which the meter itself reads. With `where_silent` they are those in which any
  does, each as far as its readings may reach: beyond its end by the longest sample interval.
-#}
{%- macro hours_with_changed_spans(
    model, columns, from_column, to_column, where_silent=false
) -%}
{%- set said = columns | reject('in', [from_column, to_column]) | list -%}
select distinct hour_ts
from (
    select hours.hour_ts
    from (
        select {{ columns | join(', ') }} from {{ ref(model) }}
        union all
        select {{ columns | join(', ') }} from {{ built(model, columns) }} as built
    ) as states
    inner join (
        select distinct meter_id
        from ({{ changed_rows(ref(model), built(model, columns), columns) }}) as changed
    ) as changed_meters on states.meter_id = changed_meters.meter_id
    inner join (
        {%- if where_silent %}
        select distinct
            edges.hour_ts,
            {{ epoch_us('edges.hour_ts') }} as from_us,
            {{ epoch_us('edges.hour_ts') }} + 3600000000 + longest.sample_interval_ms * 1000
                as until_us
        from {{ ref('int_meter_hour_edges') }} as edges
        cross join {{ longest_interval() }} as longest
        {%- else %}
        select
            meter_id,
            hour_ts,
            {{ epoch_us('hour_ts') }} as from_us,
            {{ epoch_us('hour_ts') }} + 3600000000 as until_us
        from {{ ref('int_meter_hour_edges') }}
        {%- endif %}
    ) as hours
        on
            {{ epoch_us('states.' ~ from_column) }} < hours.until_us
            and hours.from_us < {{ epoch_us('states.' ~ to_column) }}
            {%- if not where_silent %}
            and states.meter_id = hours.meter_id
            {%- endif %}
    {%- if not state_is_current() %}
    where false
    {%- endif %}
    group by
        hours.hour_ts,
        greatest({{ epoch_us('states.' ~ from_column) }}, hours.from_us),
        least({{ epoch_us('states.' ~ to_column) }}, hours.until_us),
        states.{{ said | join(', states.') }}
    having count(*) = 1
) as differing
{%- endmacro -%}
