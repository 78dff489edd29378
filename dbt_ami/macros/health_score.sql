{#-
  Pole health score from 0 to 100: weighted mean of the parts that are known; NULL (unknown) when no
  meter reports, none was expected to, or more than `health_unknown_missing_rate` of the readings are missing. `parts` maps
  the column of each part to the var of its weight.
-#}
{%- macro health_score(parts, missing_rate, meters_reporting) -%}
case
    when
        {{ meters_reporting }} = 0
        or {{ missing_rate }} is null
        or {{ missing_rate }} > {{ number_var('health_unknown_missing_rate') }} then null
    else
        100 * (
            {%- for column, weight in parts.items() %}
            {{ '+ ' if not loop.first }}coalesce({{ number_var(weight) }} * {{ column }}, 0)
            {%- endfor %}
        ) / nullif(
            {%- for column, weight in parts.items() %}
            {{ '+ ' if not loop.first }}case
                when {{ column }} is null then 0 else {{ number_var(weight) }}
            end
            {%- endfor %}, 0
        )
end
{%- endmacro -%}
