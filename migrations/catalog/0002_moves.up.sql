-- The journal of moves, plans of many moves, and pins. A move is open from its first step to its last;
-- what happens in between is decided by the shards' own rows, never by a phase that is written here.
create table catalog.plans (
    id bigint primary key generated always as identity,
    made_at timestamptz not null default now(),
    epoch bigint not null,
    balance_by text not null check (balance_by in ('slots', 'rows', 'bytes', 'rate', 'choice')),
    reason text not null,
    -- What is done to shards before the moves: {"add": […], "drain": […], "weights": {…}}.
    changes jsonb not null default '{}',
    state text not null default 'saved' check (state in ('saved', 'started', 'done')),
    reverses bigint references catalog.plans (id)
);
comment on column catalog.plans.epoch is 'The topology that the plan was made for.';

create table catalog.moves (
    id bigint primary key generated always as identity,
    plan_id bigint references catalog.plans (id),
    source_id integer not null references catalog.shards (id),
    target_id integer not null references catalog.shards (id),
    slots integer[] not null check (cardinality(slots) > 0),
    epochs bigint[] not null check (cardinality(epochs) = cardinality(slots)),
    state text not null default 'open' check (state in ('open', 'done', 'aborted')),
    reason text not null,
    reverses bigint references catalog.moves (id),
    opened_at timestamptz not null default now(),
    closed_at timestamptz,
    -- The rest is for people: nothing is decided by it, except that nothing is purged too early.
    phase text not null default 'opened',
    note text,
    runner text,
    seen_at timestamptz,
    source_timeline integer,
    rows bigint,
    bytes bigint,
    lifts integer not null default 0,
    pause_ms double precision,
    verified_at timestamptz,
    purge_after timestamptz,
    purged_at timestamptz,
    check (source_id <> target_id)
);
comment on column catalog.moves.slots is 'Ascending, each once.';
comment on column catalog.moves.epochs is 'The epoch of each slot when the move was opened.';
create index moves_by_plan on catalog.moves (plan_id);

-- At most one open move for a slot: by this key, not by a lease, which can be lost without noticing.
create table catalog.moving_slots (
    slot integer primary key check (slot between 0 and 16383),
    move_id bigint not null references catalog.moves (id)
);

create table catalog.plan_moves (
    plan_id bigint not null references catalog.plans (id),
    place integer not null,
    -- By name: a plan may name shards that it adds itself.
    source text not null,
    target text not null,
    slots integer[] not null check (cardinality(slots) > 0),
    rows bigint not null,
    bytes bigint not null,
    move_id bigint references catalog.moves (id),
    primary key (plan_id, place)
);

create table catalog.pins (
    slot integer primary key check (slot between 0 and 16383),
    shard_id integer not null references catalog.shards (id),
    reason text not null,
    pinned_at timestamptz not null default now()
);
comment on table catalog.pins is 'Slots that plans leave on, or bring to, one shard.';

-- Each owner of a slot has a higher epoch than the one before; a change of many slots is one epoch of
-- the topology, so the two are counted apart.
alter table catalog.slots drop constraint slots_epoch_fkey;
comment on column catalog.slots.epoch is
    'How far the chain of owners of this slot has come; every new owner has a higher one.';
alter table catalog.topology
    add column move_id bigint references catalog.moves (id),
    add column plan_id bigint references catalog.plans (id);

-- Opens a move, or says why not; the owner and the epochs are read under the same locks.
--
-- SM001: another move holds a slot, or the source does not own it. SM002: a migration or a change of
-- shards is under way.
create function catalog.open_move(
    from_shard integer, to_shard integer, wanted integer[], why text, of_plan bigint,
    reversed_move bigint, migration_lock bigint, topology_lock bigint
) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    sorted integer[];
    owned integer;
    problem text;
    result bigint;
begin
    if not pg_try_advisory_xact_lock_shared(migration_lock) then
        raise exception 'a migration is under way' using errcode = 'SM002';
    end if;
    if not pg_try_advisory_xact_lock_shared(topology_lock) then
        raise exception 'another change of the topology is under way' using errcode = 'SM002';
    end if;
    select array_agg(distinct u.slot order by u.slot) into sorted from unnest(wanted) as u (slot);

    perform from catalog.slots s where s.slot = any (sorted) order by s.slot for share;
    select count(*) into owned
    from catalog.slots s where s.slot = any (sorted) and s.shard_id = from_shard;
    if owned < cardinality(sorted) then
        raise exception 'the source owns % of the % slots', owned, cardinality(sorted)
            using errcode = 'SM001';
    end if;
    select string_agg(format('slot %s is in move %s', w.slot, w.move_id), ', ') into problem
    from (select m.slot, m.move_id from catalog.moving_slots m
          where m.slot = any (sorted) order by m.slot limit 3) w;
    if problem is not null then
        raise exception '%', problem using errcode = 'SM001';
    end if;
    if not exists (
        select from catalog.shards s where s.id = to_shard
            and (s.state = 'active' or s.state = 'draining' and reversed_move is not null)) then
        raise exception 'the target is not active' using errcode = 'SM001';
    end if;

    insert into catalog.moves (plan_id, source_id, target_id, slots, epochs, reason, reverses)
    select of_plan, from_shard, to_shard, sorted, array_agg(s.epoch order by s.slot), why,
        reversed_move
    from catalog.slots s where s.slot = any (sorted)
    returning id into result;
    insert into catalog.moving_slots (slot, move_id) select u.slot, result from unnest(sorted) u (slot);
    return result;
end
$$;

-- The catalog learns the new owner; routers are told. Repeating it changes nothing.
create function catalog.publish_move(m bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    move catalog.moves;
    changed integer;
begin
    lock table catalog.topology in share row exclusive mode;
    select * into strict move from catalog.moves where id = m;
    update catalog.slots s set shard_id = move.target_id, epoch = u.epoch + 1
    from unnest(move.slots, move.epochs) as u (slot, epoch)
    where s.slot = u.slot and s.epoch < u.epoch + 1;
    get diagnostics changed = row_count;
    if changed = 0 then
        return;
    end if;
    insert into catalog.topology (epoch, reason, move_id, plan_id)
    select max(t.epoch) + 1, move.reason, m, move.plan_id from catalog.topology t;
end
$$;

-- Closes a move; its slots may be moved again.
create function catalog.close_move(m bigint, as_state text, why text, purge_in interval) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    update catalog.moves
    set state = as_state, closed_at = now(), phase = as_state, note = coalesce(why, note),
        purge_after = now() + purge_in
    where id = m and state = 'open';
    if not found then
        return false;
    end if;
    delete from catalog.moving_slots where move_id = m;
    return true;
end
$$;
