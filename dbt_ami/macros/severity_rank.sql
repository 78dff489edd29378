{#- Severities as numbers that rise with them, to find the worst: minor 1, major 2, critical 3. -#}
{%- macro severity_rank(severity) -%}
case {{ severity }} when 'critical' then 3 when 'major' then 2 else 1 end
{%- endmacro -%}
