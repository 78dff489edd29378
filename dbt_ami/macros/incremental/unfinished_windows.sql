{#- Windows that a run began to restate and did not complete: `window_ts`. -#}
{%- macro unfinished_windows() -%}
{%- if is_building() -%}
(select distinct window_ts from {{ state_relation('unfinished') }})
{%- else -%}
(select {{ far_past() }} as window_ts)
{%- endif -%}
{%- endmacro -%}
