{#-
  10-minute intervals from the local midnight of `first` to that of `until` (dates, exclusive) in
  the time zone `zone`: 144 a day, 138 or 150 where the clock is changed by an hour.
-#}
{%- macro ten_minutes_between(first, until, zone) -%}
{{ int_div(
    epoch_us(local_midnight(until, zone)) ~ ' - ' ~ epoch_us(local_midnight(first, zone)), 600000000
) }}
{%- endmacro -%}
