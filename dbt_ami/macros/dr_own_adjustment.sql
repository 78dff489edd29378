{#- The adjustment that belongs to the DR method in the column `method`. -#}
{%- macro dr_own_adjustment(method) -%}
case {{ method }}
    {%- for name, rule in var('dr_methods').items() %}
    when '{{ name }}' then '{{ rule.adjustment }}'
    {%- endfor %}
end
{%- endmacro -%}
