with {{ low_runs(ref('int_low_readings'), ref('int_low_neighbours')) }}

select * from low_runs
