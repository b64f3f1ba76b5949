/* One request to the node agent and its answer, within one deadline. */
#ifndef OPENQSE_EXCHANGE_H
#define OPENQSE_EXCHANGE_H

#include <sys/un.h>

#include "failure.h"
#include "records.h"

struct hook {
	char socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int timeout; /* seconds, for the whole exchange */
};

/*
 * Reads plugstack.conf's arguments (socket=PATH, timeout=SECONDS). One that is unknown or out of
 * range is logged and left out: a slip there must not take QPUs away from a node.
 */
void hook_configure(struct hook *hook, int ac, char *av[]);

/*
 * Sends `request` and reads the answer into `block`.
 * Returns 0 when the agent did what was asked, or -1 with the whole story in `failure`.
 */
int exchange(const struct hook *hook, const struct block *request, struct block *block,
	     struct answer *answer, struct failure *failure);

#endif
