{#-
  Aggregates over the candidates of a slot (rows of `picks` with the slot's `kw`), per DR method in
  `methods`:
  baseline_<method> [kW] and days_<method>, how many candidates have a value in the slot. The median
  needs its values one by one: median_<method>_<rank>, for dr_slot_baselines.
-#}
{%- macro dr_slot_aggregates(methods) -%}
{%- for method in methods %}
{%- set rule = var('dr_methods')[method] %}
count(case when pool_{{ method }} then kw end) as days_{{ method }},
{%- if rule.kind == 'median' %}
{%- for rank in range(1, rule.pool_w + 1) %}
max(case when recency_rank = {{ rank }} and pool_{{ method }} then kw end)
    as median_{{ method }}_{{ rank }}{{ ',' if not loop.last }}
{%- endfor %}
{%- else %}
avg(case when use_{{ method }} then kw end) as baseline_{{ method }}
{%- endif %}
{{- ',' if not loop.last }}
{%- endfor %}
{%- endmacro -%}
