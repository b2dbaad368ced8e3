drop function catalog.close_move(bigint, text, text, interval);
drop function catalog.publish_move(bigint);
drop function catalog.open_move(integer, integer, integer[], text, bigint, bigint, bigint, bigint);
alter table catalog.topology drop column move_id, drop column plan_id;
drop table catalog.pins, catalog.plan_moves, catalog.moving_slots, catalog.moves, catalog.plans;
update catalog.slots set epoch = (select max(epoch) from catalog.topology);
alter table catalog.slots add foreign key (epoch) references catalog.topology (epoch);
