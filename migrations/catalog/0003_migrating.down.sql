drop table catalog.schema_references;
drop table catalog.migration_run_shards;
drop table catalog.migration_runs;
alter table catalog.migrations drop column origin;
drop table catalog.migration_steps;
