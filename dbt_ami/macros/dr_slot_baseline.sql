{#-
  Baseline of a slot by the row's `method`, from the columns of dr_slot_aggregates. [kW]
  NULL where fewer candidates than the method needs have a value in the slot.
-#}
{%- macro dr_slot_baseline() -%}
case method
    {%- for method in var('dr_methods') %}
    when '{{ method }}'
        then
            case
                when days_{{ method }} >= {{ by_day_type(method, 'needs', 'day_type') }}
                    then baseline_{{ method }}
            end
    {%- endfor %}
end
{%- endmacro -%}
