drop schema shard cascade;
