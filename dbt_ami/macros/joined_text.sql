{#- The expressions `parts` as one text with `|` between them. -#}
{%- macro joined_text(parts) -%}
{%- for part in parts -%}
cast({{ part }} as {{ dbt.type_string() }}){% if not loop.last %} || '|' || {% endif %}
{%- endfor -%}
{%- endmacro -%}
