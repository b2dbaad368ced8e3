#ifndef BENCHMARKS_CPOSTGRES_H
#define BENCHMARKS_CPOSTGRES_H

#include <libpq-fe.h>

#endif
