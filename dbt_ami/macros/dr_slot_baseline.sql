{#-
  Baseline of a slot by the row's `method`, from the columns of dr_slot_aggregates. [kW]
  NULL where fewer candidates than the method needs have a value in the slot.
-#}
{%- macro dr_slot_baseline() -%}
case method
    {%- for method, rule in var('dr_methods').items() %}
    when '{{ method }}'
        then
            case
                when days_{{ method }} >= {{ by_day_type(method, 'needs', 'day_type') }}
                    then
                        {% if rule.kind == 'median' -%}
                        {%- set ranked = [] -%}
                        {%- for rank in range(1, rule.pool_w + 1) -%}
                        {%- do ranked.append('median_' ~ method ~ '_' ~ rank) -%}
                        {%- endfor -%}
                        {{ median_of(ranked) }}
                        {%- else -%}
                        baseline_{{ method }}
                        {%- endif %}
            end
    {%- endfor %}
end
{%- endmacro -%}
