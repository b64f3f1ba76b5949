/*
 * The hook exchange's blocks: KEY=VALUE records, each ended by a NUL, then one empty record.
 * Pure: bytes in, values out.
 */
#ifndef OPENQSE_RECORDS_H
#define OPENQSE_RECORDS_H

#include <stdbool.h>
#include <stddef.h>

#define HOOK_VERSION "1"
#define HOOK_BLOCK_MAX 65536 /* bytes, end mark included */
#define HOOK_NAME_MAX 255    /* bytes of a variable's name in a SET record */

struct block {
	size_t used;
	bool overflow;
	char bytes[HOOK_BLOCK_MAX];
};

/* Appends a record; one that does not fit marks the block as overflown. */
void block_add(struct block *block, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Appends the end mark. Returns 0, or -1 if the block did not fit. */
int block_end(struct block *block);

/* Length of the whole block at the start of `bytes`, or 0 if its end has not come yet. */
size_t block_length(const char *bytes, size_t size);

/* An answer; the strings stand in the block it was read from. */
struct answer {
	bool ok;
	const char *elapsed_us; /* decimal digits; NULL if the answer has none */
	const char *layer;      /* this and the next two: of an error, else NULL */
	const char *message;
	const char *remedy;
};

/*
 * Reads a whole answer of `size` bytes, every SET record checked.
 * Returns 0, or -1 with what is wrong with it in `why`.
 */
int answer_read(const char *bytes, size_t size, struct answer *answer, char *why, size_t why_size);

/*
 * Walks the SET records of an answer that answer_read() accepted: `*position` starts at 0.
 * Returns the value and writes the variable's name, or NULL after the last.
 */
const char *answer_next_set(const char *bytes, size_t size, size_t *position,
			    char name[HOOK_NAME_MAX + 1]);

#endif
