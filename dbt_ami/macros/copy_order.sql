{#-
  Order of the stored copies of a reading: the first one counts. The order of the values stands for
  the payload hash, which no two warehouses write alike. `prefix`
  is the relation's name and a dot, where several have such columns.
-#}
{%- macro copy_order(prefix='') -%}
{{ prefix }}ingest_ts, {{ prefix }}voltage_v, {{ prefix }}current_a, {{ prefix }}power_kw,
{{ prefix }}reactive_kvar nulls last, {{ prefix }}freq_hz nulls last,
array_to_string({{ prefix }}quality_flags, ',') nulls last, {{ prefix }}batch_id
{%- endmacro -%}
