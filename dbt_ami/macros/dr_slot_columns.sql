{#-
  Columns of a slot of `dr_slots` (of dr_windows) as dr_event_performance and the function
  dr_window_performance give them.
-#}
{%- macro dr_slot_columns() -%}
pole_id,
method,
adjustment,
slot_ts,
phase,
candidate_days,
baseline_kw,
actual_kw,
baseline_kw - actual_kw as shed_kw,
adjust_factor,
adjust_offset_kw,
adjust_fallback,
adjustment = {{ dr_own_adjustment('method') }} as is_own_adjustment,
null_reason
{%- endmacro -%}
