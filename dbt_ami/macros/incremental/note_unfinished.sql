{#-
  Hook of a model that lists windows: notes them for the list `list_name` (of state_parts) until its
  part of the project is complete, so that a run which is cut short has them restated by the next,
  whatever has changed by then.
-#}
{%- macro note_unfinished(list_name='int_landed_windows') -%}
{%- if is_building() -%}
insert into {{ state_relation('unfinished_windows') }}
select '{{ list_name }}' as list_name, window_ts from {{ this }}
{%- endif -%}
{%- endmacro -%}
