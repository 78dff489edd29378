{#-
  Columns `voltage_sigma_v`, `mean_kw` and `mean_kvar` of the sums that int_meter_hours and
  int_meter_days hold, of the relation `sums`.
-#}
{%- macro meter_means(sums) -%}
case
    when {{ sums }}.received > 0
        then sqrt(
            greatest(
                0,
                {{ sums }}.voltage_square_sum_v2 / {{ sums }}.received
                - ({{ sums }}.voltage_sum_v / {{ sums }}.received)
                * ({{ sums }}.voltage_sum_v / {{ sums }}.received)
            )
        )
end as voltage_sigma_v,
{{ sums }}.energy_kwh * 3600 / nullif({{ sums }}.covered_s, 0) as mean_kw,
{{ sums }}.reactive_kvarh * 3600 / nullif({{ sums }}.covered_s, 0) as mean_kvar
{%- endmacro -%}
