{#- How many rows of the group satisfy `condition`, integer. -#}
{%- macro count_where(condition) -%}count(case when {{ condition }} then 1 end){%- endmacro -%}
