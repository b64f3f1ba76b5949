/* The one line a user or an administrator reads when something went wrong. */
#include "failure.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *full_stop(const char *sentence)
{
	size_t length = strlen(sentence);

	return length == 0 || sentence[length - 1] == '.' ? "" : ".";
}

static void compose(struct failure *failure, const char *layer, const char *remedy,
		    const char *format, va_list args)
{
	char message[1400];

	if (vsnprintf(message, sizeof(message), format, args) < 0)
		message[0] = '\0';
	if (snprintf(failure->text, sizeof(failure->text), "openqse: %.160s: %s%s%s%.450s%s", layer,
		     message, full_stop(message), *remedy ? " " : "", remedy,
		     full_stop(remedy)) < 0)
		strcpy(failure->text, "openqse: unknown failure");
	failure_sanitize(failure->text);
}

void failure_set(struct failure *failure, const char *layer, const char *remedy,
		 const char *format, ...)
{
	va_list args;

	va_start(args, format);
	compose(failure, layer, remedy, format, args);
	va_end(args);
}

void failure_set_on_node(struct failure *failure, const char *remedy, const char *format, ...)
{
	char host[HOST_NAME_MAX + 1] = "";
	char layer[HOST_NAME_MAX + 32];
	va_list args;

	if (gethostname(host, sizeof(host) - 1) < 0)
		strcpy(host, "this node");
	snprintf(layer, sizeof(layer), "node agent on %s", host);
	va_start(args, format);
	compose(failure, layer, remedy, format, args);
	va_end(args);
}

void failure_sanitize(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == '\x7f')
			*text = '?';
}
