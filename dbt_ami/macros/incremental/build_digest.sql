{#-
  Digest of what decides the numbers beside the readings: the text of every model and macro and the
  thresholds, those of the command line included.
-#}
{%- macro build_digest() -%}
{%- set parts = [invocation_args_dict.get('vars') | string] -%}
{%- for node in graph.nodes.values() | sort(attribute='unique_id') -%}
    {%- if node.resource_type == 'model' and node.package_name == 'ami' -%}
        {%- do parts.append(node.unique_id ~ node.checksum.checksum) -%}
        {%- if node.name == 'int_landed_windows' -%}
            {%- do parts.append(node.config.meta | string) -%}
        {%- endif -%}
    {%- endif -%}
{%- endfor -%}
{#- dbt's graph names macros without their text; the functions that stand for them have it. -#}
{%- for _, function in context['ami'] | dictsort -%}
    {%- do parts.append(function.macro.macro_sql) -%}
{%- endfor -%}
{{ return(local_md5(parts | join('|'))) }}
{%- endmacro -%}
