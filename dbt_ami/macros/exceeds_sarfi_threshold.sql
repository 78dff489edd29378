{#-
  Whether an event counts for SARFI-x: below x % of nominal voltage on the low side for x up to 100,
  above x % on the high side beyond. `threshold_pct` is x, `extreme_pu` the extreme voltage in pu.
-#}
{%- macro exceeds_sarfi_threshold(side, extreme_pu, threshold_pct) -%}
(
    (
        {{ side }} = 'low'
        and {{ threshold_pct }} <= 100
        and {{ extreme_pu }} < {{ threshold_pct }} / cast(100 as {{ type_double() }})
    )
    or (
        {{ side }} = 'high'
        and {{ threshold_pct }} > 100
        and {{ extreme_pu }} > {{ threshold_pct }} / cast(100 as {{ type_double() }})
    )
)
{%- endmacro -%}
