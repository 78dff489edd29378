{#-
  One row per slot, by the columns of `slot_key`, over its candidates (rows of `slots`: picks with
  the slot's `kw`); per DR method in `methods` baseline_<method> [kW] and days_<method>, how many
  candidates have a value in the slot.
-#}
{%- macro dr_slot_aggregates(slots, slot_key, methods) -%}
select
    {{ slot_key | join(',\n    ') }}
    {%- for method in methods %},
    days_{{ method }},
    {%- if var('dr_methods')[method].kind == 'median' %}
    {%- set ranked = [] %}
    {%- for rank in range(1, var('dr_methods')[method].pool_w + 1) %}
    {%- do ranked.append('median_' ~ method ~ '_' ~ rank) %}
    {%- endfor %}
    {{ median_of(ranked) }} as baseline_{{ method }}
    {%- else %}
    baseline_{{ method }}
    {%- endif %}
    {%- endfor %}
from (
    select
        {{ slot_key | join(',\n        ') }}
        {%- for method in methods %}
        {%- set rule = var('dr_methods')[method] %},
        count(case when pool_{{ method }} then kw end) as days_{{ method }},
        {%- if rule.kind == 'median' %}
        {%- for rank in range(1, rule.pool_w + 1) %}
        max(case when recency_rank = {{ rank }} and pool_{{ method }} then kw end)
            as median_{{ method }}_{{ rank }}{{ ',' if not loop.last }}
        {%- endfor %}
        {%- else %}
        avg(case when use_{{ method }} then kw end) as baseline_{{ method }}
        {%- endif %}
        {%- endfor %}
    from {{ slots }}
    group by {{ slot_key | join(', ') }}
) as aggregates
{%- endmacro -%}
