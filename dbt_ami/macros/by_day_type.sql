{#- The key `name`_w or `name`_e of the DR method `method` (var dr_methods), by the day's type. -#}
{%- macro by_day_type(method, name, day_type) -%}
case
    when {{ day_type }} = 'W' then {{ var('dr_methods')[method][name ~ '_w'] }}
    else {{ var('dr_methods')[method][name ~ '_e'] }}
end
{%- endmacro -%}
