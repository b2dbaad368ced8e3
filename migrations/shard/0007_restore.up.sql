-- Stores again a message that the shard has acknowledged and lost: by a failover to a standby that
-- lacked the last commits, or by a restored backup. The caller vouches for the message.
--
-- It gets the seq that it had when that is a hole below the room's head, else the next one. Answers:
--   stored     it is stored now, with this seq
--   duplicate  it was there: same author and text, its seq and times
--   conflict   its id holds another message of this room
--   elsewhere  this shard does not own its slot
--
-- Lock the tables first, then check ownership, lock the room, and only then look and number.
create function shard.restore_message(
    room_id text, old_seq bigint, id uuid, author text, was_sent_at timestamptz,
    was_received_at timestamptz, body text
)
returns table (outcome text, seq bigint, sent_at timestamptz, received_at timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    last_seq bigint;
    new_seq bigint;
    known public.messages;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'messages are restored in READ COMMITTED only'
            using errcode = 'invalid_transaction_state';
    end if;
    lock table public.messages, public.rooms in row exclusive mode;
    if not exists (
        select from shard.slots s
        where s.slot = shard.slot_of(restore_message.room_id) and s.state = 'active')
    then
        return query select 'elsewhere', null::bigint, null::timestamptz, null::timestamptz;
        return;
    end if;

    insert into public.rooms (room_id) values (restore_message.room_id) on conflict do nothing;
    select r.head into last_seq from public.rooms r
    where r.room_id = restore_message.room_id collate "C" for no key update;

    select m.* into known from public.messages m
    where m.room_id = restore_message.room_id collate "C" and m.id = restore_message.id;
    if found then
        return query select
            case
                when known.author = restore_message.author and known.body = restore_message.body
                    then 'duplicate'
                else 'conflict'
            end,
            known.seq, known.sent_at, known.received_at;
        return;
    end if;

    if restore_message.old_seq between 1 and last_seq and not exists (
        select from public.messages m
        where m.room_id = restore_message.room_id collate "C"
            and m.seq = restore_message.old_seq)
    then
        new_seq := restore_message.old_seq;
    else
        new_seq := last_seq + 1;
        update public.rooms r set head = new_seq
        where r.room_id = restore_message.room_id collate "C";
    end if;
    insert into public.messages (room_id, seq, id, author, sent_at, received_at, body)
    values (
        restore_message.room_id, new_seq, restore_message.id, restore_message.author,
        restore_message.was_sent_at, restore_message.was_received_at, restore_message.body);
    return query select
        'stored', new_seq, restore_message.was_sent_at, restore_message.was_received_at;
end
$$;

revoke all on function shard.restore_message(
    text, bigint, uuid, text, timestamptz, timestamptz, text) from public;
grant execute on function shard.restore_message(
    text, bigint, uuid, text, timestamptz, timestamptz, text) to chat_app;
