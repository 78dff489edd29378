{#- Whether dbt runs the models now, rather than parsing, compiling or testing them. -#}
{%- macro is_building() -%}
{{ return(execute and flags.WHICH in ['run', 'build']) }}
{%- endmacro -%}
