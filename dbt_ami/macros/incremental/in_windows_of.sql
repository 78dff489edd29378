{#-
  Whether `timestamp` lies in a window in which the model `name` has a row, by its `column`, that
  meets `condition`: for models that need few files of the readings.
-#}
{%- macro in_windows_of(timestamp, name, column, condition) -%}
{#- A unit test names only what it reads. -#}
{%- if model.resource_type == 'unit_test' -%}{{ any_time(timestamp) }}
{%- else -%}
    {%- set rows_there -%}
(select {{ column }} from {{ ref(name) }} where {{ condition }}) as rows_there
    {%- endset -%}
{{ in_windows(timestamp, rows_there, column) }}
{%- endif -%}
{%- endmacro -%}
