/* Find a short text of bytes in many bytes. */
#ifndef PLUGINAPI_READING_SEARCH_H
#define PLUGINAPI_READING_SEARCH_H

#include <stddef.h>
#include <stdint.h>

#define PA_NOT_FOUND SIZE_MAX

/* Return where `needle` (1 byte or more) begins for the first time at or behind `start`, or
 * PA_NOT_FOUND. Takes time proportional to both lengths multiplied at worst, and reads each byte
 * about twice where the first and last byte of the needle are not all over the data. */
size_t pa_find(const uint8_t *data, size_t length, const uint8_t *needle, size_t needle_length,
               size_t start);

#endif
