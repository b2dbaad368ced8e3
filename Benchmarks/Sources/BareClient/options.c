#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void usage(void) {
    fprintf(stderr,
            "usage: BareClient append|new|row|page --place CONNINFO... --sql SQL [--connections N]\n"
            "       [--batch N] [--rooms N] [--room-sql SQL] [--seconds S] [--warmup S]\n");
    exit(64);
}

static enum kind kind_named(const char *name) {
    if (!strcmp(name, "append")) return kind_append;
    if (!strcmp(name, "new")) return kind_new;
    if (!strcmp(name, "row")) return kind_row;
    if (!strcmp(name, "page")) return kind_page;
    usage();
    return kind_row;
}

struct options options_read(int count, char **words) {
    struct options options = {
        .connections = 1, .batch = 1, .rooms = 10000, .seconds = 1, .warmup = 0.3};
    if (count < 2) usage();
    options.kind = kind_named(words[1]);
    for (int index = 2; index < count; index += 2) {
        const char *name = words[index];
        if (index + 1 >= count) usage();
        const char *value = words[index + 1];
        if (!strcmp(name, "--place") && options.place_count < max_places)
            options.places[options.place_count++] = value;
        else if (!strcmp(name, "--sql")) options.sql = value;
        else if (!strcmp(name, "--room-sql")) options.room_sql = value;
        else if (!strcmp(name, "--connections")) options.connections = atoi(value);
        else if (!strcmp(name, "--batch")) options.batch = atoi(value);
        else if (!strcmp(name, "--rooms")) options.rooms = atoi(value);
        else if (!strcmp(name, "--seconds")) options.seconds = atof(value);
        else if (!strcmp(name, "--warmup")) options.warmup = atof(value);
        else usage();
    }
    if (!options.sql || !options.place_count || options.connections < 1 || options.batch < 1)
        usage();
    return options;
}
