drop function shard.unregister_table(text);
alter table shard.migrations drop column origin;
drop table shard.migration_steps;
