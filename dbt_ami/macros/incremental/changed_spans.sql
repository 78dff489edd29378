{#-
  Spans of time (`from_us`, `to_us`) in which `model` has more or fewer rows of one of its `units`
  than after the last complete build; a row is valid from `from_column` to `to_column` (exclusive).
-#}
{%- macro changed_spans(model, units, from_column, to_column) -%}
{%- set columns = units + [from_column, to_column] -%}
{%- set unit = units | join(', ') -%}
select distinct
    at_us as from_us,
    next_us as to_us
from (
    select
        at_us,
        sum(sum(step)) over (
            partition by {{ unit }}
            order by at_us
            rows between unbounded preceding and current row
        ) as surplus,
        lead(at_us) over (
            partition by {{ unit }}
            order by at_us
        ) as next_us
    from (
        select
            {{ unit }},
            {{ epoch_us('case when is_end then ' ~ to_column ~ ' else ' ~ from_column ~ ' end') }}
                as at_us,
            case when is_end then -rows_more else rows_more end as step
        from (
            select
                *,
                1 as rows_more
            from (select {{ columns | join(', ') }} from {{ ref(model) }}) as now
            union all
            select
                *,
                -1 as rows_more
            from {{ built(model, columns) }} as built
        ) as states
        cross join (select false as is_end union all select true as is_end) as ends
        where {{ from_column }} < {{ to_column }}
    ) as points
    group by {{ unit }}, at_us
    having sum(step) != 0
) as levels
where surplus != 0
{%- endmacro -%}
