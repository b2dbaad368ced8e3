drop function shard.restore_message(
    text, bigint, uuid, text, timestamptz, timestamptz, text);
