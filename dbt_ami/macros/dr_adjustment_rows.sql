{#- One row per kind of adjustment, in the column `adjustment`. -#}
{%- macro dr_adjustment_rows() -%}
select 'none' as adjustment
union all
select 'multiplicative' as adjustment
union all
select 'additive' as adjustment
{%- endmacro -%}
