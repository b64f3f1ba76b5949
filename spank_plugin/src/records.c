/* The hook exchange's blocks: KEY=VALUE records, each ended by a NUL, then one empty record. */
#include "records.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void block_add(struct block *block, const char *key, const char *format, ...)
{
	size_t room = HOOK_BLOCK_MAX - block->used;
	size_t key_length = strlen(key);
	va_list args;
	int written;

	if (block->overflow || key_length + 2 > room)
		goto fail;
	memcpy(block->bytes + block->used, key, key_length);
	block->bytes[block->used + key_length] = '=';
	room -= key_length + 1;
	va_start(args, format);
	written = vsnprintf(block->bytes + block->used + key_length + 1, room, format, args);
	va_end(args);
	if (written < 0 || (size_t)written >= room)
		goto fail;
	block->used += key_length + 1 + (size_t)written + 1;
	return;

fail:
	block->overflow = true;
}

int block_end(struct block *block)
{
	if (block->overflow || block->used == HOOK_BLOCK_MAX)
		return -1;
	block->bytes[block->used++] = '\0';
	return 0;
}

size_t block_length(const char *bytes, size_t size)
{
	const char *end;

	if (size > 0 && bytes[0] == '\0')
		return 1;
	end = memmem(bytes, size, "\0", 2); /* both NULs of the literal: a record's and the mark */
	return end ? (size_t)(end - bytes) + 2 : 0;
}

/* Whether `text` begins with KEY=, the key in [A-Z_]+; sets the key's length. */
static bool has_key(const char *text, size_t *key_length)
{
	*key_length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
	return *key_length > 0 && text[*key_length] == '=';
}

static bool begins(const char *name, size_t length, const char *prefix)
{
	return length > strlen(prefix) && memcmp(name, prefix, strlen(prefix)) == 0;
}

/*
 * Whether an agent may set this variable. It is root's program, but a defect in it must not be
 * able to load code into a job or to make other programs misbehave there.
 */
static bool may_be_set(const char *name, size_t length)
{
	static const char *const allowed[] = { "SLURM_JOB_QPU_RESOURCES", "SLURM_JOB_QPU_TYPES" };
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

	if (length == 0 || length > HOOK_NAME_MAX || !memchr(letters, name[0], sizeof(letters) - 1))
		return false;
	for (size_t i = 1; i < length; i++)
		if (!memchr(letters, name[i], sizeof(letters) - 1) &&
		    (name[i] < '0' || name[i] > '9'))
			return false;
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (length == strlen(allowed[i]) && memcmp(name, allowed[i], length) == 0)
			return true;
	return begins(name, length, "OPENQSE_") || begins(name, length, "QRMI_JOB_") ||
	       memmem(name, length, "_QRMI_JOB_", strlen("_QRMI_JOB_"));
}

int answer_read(const char *bytes, size_t size, struct answer *answer, char *why, size_t why_size)
{
	const char *version = NULL;
	const char *status = NULL;
	const struct {
		const char *key;
		const char **value;
	} known[] = {
		{ "VERSION", &version },
		{ "STATUS", &status },
		{ "ELAPSED_US", &answer->elapsed_us },
		{ "LAYER", &answer->layer },
		{ "MESSAGE", &answer->message },
		{ "REMEDY", &answer->remedy },
	};
	size_t position = 0;

	memset(answer, 0, sizeof(*answer));
	if (size == 0 || size > HOOK_BLOCK_MAX || block_length(bytes, size) != size) {
		snprintf(why, why_size, "it is not one whole block");
		return -1;
	}
	while (bytes[position]) {
		const char *record = bytes + position;
		size_t key_length;

		if (!has_key(record, &key_length)) {
			snprintf(why, why_size, "the record '%.40s' is not KEY=VALUE", record);
			return -1;
		}
		if (key_length == 3 && memcmp(record, "SET", 3) == 0) {
			const char *name = record + 4;
			size_t length = strcspn(name, "=");

			if (name[length] != '=' || !may_be_set(name, length)) {
				snprintf(why, why_size, "it must not set the variable '%.*s'",
					 length > 64 ? 64 : (int)length, name);
				return -1;
			}
		}
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
			if (strlen(known[i].key) != key_length ||
			    memcmp(known[i].key, record, key_length) != 0)
				continue;
			if (*known[i].value) {
				snprintf(why, why_size, "it has %s twice", known[i].key);
				return -1;
			}
			*known[i].value = record + key_length + 1;
		}
		position += strlen(record) + 1;
	}
	if (!version || strcmp(version, HOOK_VERSION) != 0) {
		snprintf(why, why_size, "it has version '%.16s', this plugin speaks " HOOK_VERSION,
			 version ? version : "");
		return -1;
	}
	if (answer->elapsed_us &&
	    (!*answer->elapsed_us || strlen(answer->elapsed_us) > 19 ||
	     answer->elapsed_us[strspn(answer->elapsed_us, "0123456789")])) {
		snprintf(why, why_size, "ELAPSED_US is not a number");
		return -1;
	}
	if (status && strcmp(status, "ok") == 0) {
		answer->ok = true;
		return 0;
	}
	if (!status || strcmp(status, "error") != 0) {
		snprintf(why, why_size, "its STATUS is neither ok nor error");
		return -1;
	}
	if (!answer->layer || !answer->message || !answer->remedy) {
		snprintf(why, why_size, "it is an error without LAYER, MESSAGE or REMEDY");
		return -1;
	}
	return 0;
}

const char *answer_next_set(const char *bytes, size_t size, size_t *position,
			    char name[HOOK_NAME_MAX + 1])
{
	while (*position < size && bytes[*position]) {
		const char *record = bytes + *position;
		size_t length;

		*position += strlen(record) + 1;
		if (strncmp(record, "SET=", 4) != 0)
			continue;
		length = strcspn(record + 4, "=");
		memcpy(name, record + 4, length);
		name[length] = '\0';
		return record + 4 + length + 1;
	}
	return NULL;
}
