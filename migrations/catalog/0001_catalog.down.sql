drop schema catalog cascade;
