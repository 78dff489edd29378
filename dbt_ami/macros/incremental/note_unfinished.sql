{#-
  Hook of a model that lists windows: notes them until a build is complete, so that a run which is
  cut short has them restated by the next, whatever has changed by then.
-#}
{%- macro note_unfinished() -%}
{%- if is_building() -%}
insert into {{ state_relation('unfinished') }} select window_ts from {{ this }}
{%- endif -%}
{%- endmacro -%}
