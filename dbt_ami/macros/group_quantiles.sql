{#-
  Exact quantiles (linear interpolation) of `value` per group of `relation`: the columns of `by`,
  `value_count`, and one column per item of `quantiles` ({column: share from 0 to 1}).
-#}
{%- macro group_quantiles(relation, by, value, quantiles) -%}
{{ return(adapter.dispatch('group_quantiles', 'ami')(relation, by, value, quantiles)) }}
{%- endmacro -%}

{#- BigQuery has exact percentiles as window functions only, so ranks are interpolated here. -#}
{%- macro default__group_quantiles(relation, by, value, quantiles) -%}
select
    {{ by | join(', ') }},
    count(*) as value_count
    {%- for column, share in quantiles.items() %},
    sum({{ value }} * greatest(0, 1 - abs({{ share }} * (value_total - 1) - value_rank)))
        as {{ column }}
    {%- endfor %}
from (
    select
        {{ by | join(', ') }},
        {{ value }},
        row_number() over (partition by {{ by | join(', ') }} order by {{ value }}) - 1
            as value_rank,
        count(*) over (partition by {{ by | join(', ') }}) as value_total
    from {{ relation }}
    where {{ value }} is not null
) as ranked
group by {{ by | join(', ') }}
{%- endmacro -%}

{%- macro duckdb__group_quantiles(relation, by, value, quantiles) -%}
select
    {{ by | join(', ') }},
    count(*) as value_count
    {%- for column, share in quantiles.items() %},
    quantile_cont({{ value }}, {{ share }}) as {{ column }}
    {%- endfor %}
from {{ relation }}
where {{ value }} is not null
group by {{ by | join(', ') }}
{%- endmacro -%}
