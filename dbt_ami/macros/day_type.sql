{#-
  Type of the local day `day_number`: W (Monday to Friday without holidays) or E (the rest).
  1970-01-01, day 0, was a Thursday.
-#}
{%- macro day_type(day_number, is_holiday) -%}
case when mod({{ day_number }} + 3, 7) < 5 and not {{ is_holiday }} then 'W' else 'E' end
{%- endmacro -%}
