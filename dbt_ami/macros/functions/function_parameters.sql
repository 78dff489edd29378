{#-
  Parameters of a table function, from a mapping of their names to `instant` or `texts` (a list).
  DuckDB takes whatever can be cast, so that a plain string will do; cast them with `instant_of` and
  `is_listed`.
-#}
{%- macro function_parameters(types) -%}
{{ return(adapter.dispatch('function_parameters', 'ami')(types)) }}
{%- endmacro -%}
{%- macro default__function_parameters(types) -%}
{%- set names = {'instant': type_instant(), 'texts': 'array<string>'} -%}
{%- set parameters = [] -%}
{%- for name, type in types.items() -%}
{%- do parameters.append(name ~ ' ' ~ names[type]) -%}
{%- endfor -%}
{{ return(parameters) }}
{%- endmacro -%}
{%- macro duckdb__function_parameters(types) -%}{{ return(types.keys() | list) }}{%- endmacro -%}
