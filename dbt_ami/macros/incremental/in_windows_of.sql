{#-
  Whether `timestamp` lies in a window in which the model `name` has a row, by its `column`: for
  models that are built whole and need few files of the readings.
-#}
{%- macro in_windows_of(timestamp, name, column) -%}
{#- A unit test names only what it reads. -#}
{%- if model.resource_type == 'unit_test' -%}{{ any_time(timestamp) }}
{%- else -%}{{ in_windows(timestamp, ref(name), column) }}
{%- endif -%}
{%- endmacro -%}
