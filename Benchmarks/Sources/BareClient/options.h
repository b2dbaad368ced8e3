#ifndef BARE_OPTIONS_H
#define BARE_OPTIONS_H

enum { max_places = 8 };

/// What a connection does, over and over.
enum kind {
    kind_append,  // A batch: six arrays.
    kind_new,     // A batch as shard.append_new takes it: ten arrays.
    kind_row,     // One message: six values.
    kind_page,    // A page of a room: room, border, limit.
};

struct options {
    enum kind kind;
    const char *places[max_places];  // Connection strings.
    int place_count;
    int connections;  // To each place.
    int batch;
    int rooms;
    double seconds;
    double warmup;
    const char *sql;
    const char *room_sql;  // Which rooms live at a place; without it their names are made up.
};

/// Reads the command line, or explains it and ends the process with status 64.
struct options options_read(int count, char **words);

#endif
