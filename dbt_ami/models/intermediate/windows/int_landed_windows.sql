select
    lake.version,
    coalesce(lake.window_ts, built.window_ts, unfinished.window_ts) as window_ts
from ({{ lake_windows() }}) as lake
full outer join {{ built_windows() }} as built on lake.window_ts = built.window_ts
full outer join {{ unfinished_windows() }} as unfinished
    on coalesce(lake.window_ts, built.window_ts) = unfinished.window_ts
where lake.version is distinct from built.version or unfinished.window_ts is not null
