/* The one line a user or an administrator reads when something went wrong. */
#ifndef OPENQSE_FAILURE_H
#define OPENQSE_FAILURE_H

struct failure {
	char text[2048]; /* empty: nothing failed */
};

/* Remedies more than one place gives. */
#define REMEDY_CHECK_AGENT "Ask the administrator to check openqse-node-agent on this node"
#define REMEDY_SAME_RELEASE "Ask the administrator to install plugin and node agent of the same release"

/*
 * Writes "openqse: LAYER: MESSAGE. REMEDY." with control characters made harmless: parts of it
 * come from other programs, and it ends on a terminal and in logs.
 */
void failure_set(struct failure *failure, const char *layer, const char *remedy,
		 const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The layer of a failure met between the shim and its agent: "node agent on HOST". */
void failure_set_on_node(struct failure *failure, const char *remedy, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Replaces control characters by '?'. */
void failure_sanitize(char *text);

#endif
