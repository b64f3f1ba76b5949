/*
 * What users write after --qpu and --qpu-mode, what administrators write into plugstack.conf, and
 * what other programs' texts become on a terminal. The first byte says which.
 */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "exchange.h"
#include "failure.h"
#include "mock.h"
#include "options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
	if (!condition)
		abort();
}

static void check_qpu(const char *value)
{
	char why[2048] = "";

	if (options_check_qpu("--qpu", value, why, sizeof(why)) < 0) {
		must(why[0] != '\0');
		return;
	}
	must(strlen(value) <= QPU_VALUE_MAX);
	for (const char *c = value; *c; c++)
		must(isalnum((unsigned char)*c) || strchr("_:,", *c));
}

static void check_mode(const char *value)
{
	char why[2048] = "";
	const char *mode = options_check_mode("--qpu-mode", value, why, sizeof(why));

	must(mode ? strcmp(mode, value) == 0 : why[0] != '\0');
}

static void check_hook(char *text, size_t size)
{
	struct hook hook;
	char *arguments[8];
	int count = 0;

	for (size_t at = 0; at < size && count < 8; at += strlen(text + at) + 1)
		arguments[count++] = text + at;
	mock.log[0] = '\0';
	hook_configure(&hook, count, arguments);
	must(hook.socket[0] == '/' && strlen(hook.socket) < sizeof(hook.socket));
	must(hook.timeout >= 1 && hook.timeout <= 60);
}

static void check_text(const char *text)
{
	struct failure failure;

	failure_set(&failure, text, text, "%s", text);
	must(strlen(failure.text) < sizeof(failure.text));
	for (const char *c = failure.text; *c; c++)
		must(!iscntrl((unsigned char)*c));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size < 2)
		return 0;
	text = malloc(size - 1); /* what follows the first two bytes, and a NUL */
	must(text != NULL);
	memcpy(text, data + 2, size - 2);
	text[size - 2] = '\0';
	switch (data[0]) {
	case 'q':
		check_qpu(text);
		break;
	case 'm':
		check_mode(text);
		break;
	case 'h':
		check_hook(text, size - 2);
		break;
	default:
		check_text(text);
	}
	free(text);
	return 0;
}
