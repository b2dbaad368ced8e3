#ifndef SHARDCHAT_CHIREDIS_H
#define SHARDCHAT_CHIREDIS_H

#include <stdlib.h>
#include <hiredis/hiredis.h>

#endif
