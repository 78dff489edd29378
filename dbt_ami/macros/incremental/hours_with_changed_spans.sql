{#-
  Hours (`hour_ts`) with readings in which the rows of `relation`, each valid from `from_column` to
  `to_column` (exclusive), say something else than those of the last complete build. Rows are
  compared as cut to the hour: a row that ends later than it did changes no hour before its end.
  No row where there is nothing to compare with.
-#}
{%- macro hours_with_changed_spans(model, columns, from_column, to_column) -%}
{%- set hours = ref('int_meter_hour_edges') -%}
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
    inner join (select distinct hour_ts from {{ hours }}) as hours
        on
            {{ epoch_us('states.' ~ from_column) }} < {{ epoch_us('hours.hour_ts') }} + 3600000000
            and {{ epoch_us('hours.hour_ts') }} < {{ epoch_us('states.' ~ to_column) }}
    {%- if not state_is_current() %}
    where false
    {%- endif %}
    group by
        hours.hour_ts,
        greatest({{ epoch_us('states.' ~ from_column) }}, {{ epoch_us('hours.hour_ts') }}),
        least({{ epoch_us('states.' ~ to_column) }}, {{ epoch_us('hours.hour_ts') }} + 3600000000),
        states.{{ said | join(', states.') }}
    having count(*) = 1
) as differing
{%- endmacro -%}
