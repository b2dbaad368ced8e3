alter function shard.append_messages(
    text[], uuid[], text[], timestamptz[], timestamptz[], text[]) reset plan_cache_mode;
drop function shard.append_new(
    text[], integer[], integer[], integer[], text[], uuid[], text[], timestamptz[], timestamptz[],
    text[]);
