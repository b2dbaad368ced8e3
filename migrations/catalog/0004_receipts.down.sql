drop table catalog.receipt_keys;
