drop function shard.append_one(text, uuid, text, timestamptz, timestamptz, text);
