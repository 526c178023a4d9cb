/* The HTTP exchanges of the benchmark: what is asked for, and what the answer's body must be.
 *
 *   GET /items/cccccccc-qqqqqqqq?bytes=ssssssss    the item of that name, so many bytes long (all hex digits)
 *   POST /items/...                                the body that was sent
 *
 * The generator and both backends make the same items, so that each body can be compared to the byte.
 */
#ifndef HTTP_H
#define HTTP_H

#include "common.h"

#define ITEMS "/items/"
#define NAME_BYTES 17
#define BYTES_AT (sizeof ITEMS - 1 + NAME_BYTES + sizeof "?bytes=" - 1)
#define TARGET_BYTES (BYTES_AT + 8)

static const char ITEM_HEAD[] = "{\"id\":\"cccccccc-qqqqqqqq\",\"data\":\"";
#define ITEM_NAME_AT 7
#define LEAST_ITEM (sizeof ITEM_HEAD + 2)

/* What is the same in every item of a size. */
static inline void prepare_item(unsigned char *out, size_t size) {
    put_filler(out, size);
    memcpy(out, ITEM_HEAD, sizeof ITEM_HEAD - 1);
    memcpy(out + size - 2, "\"}", 2);
}

/* The item that a target asks for, and its size; NULL: it asks for none. It stays until the next one is made. */
static inline const unsigned char *find_item(const char *target, size_t length, size_t *size) {
    static unsigned char item[MAX_MESSAGE];
    static size_t prepared;
    if (length != TARGET_BYTES || memcmp(target, ITEMS, sizeof ITEMS - 1)) return NULL;
    int64_t bytes = read_hex((const unsigned char *)target + BYTES_AT, 8);
    if (bytes < (int64_t)LEAST_ITEM || bytes > MAX_MESSAGE) return NULL;
    *size = (size_t)bytes;
    if (prepared != *size) prepare_item(item, prepared = *size);
    memcpy(item + ITEM_NAME_AT, target + sizeof ITEMS - 1, NAME_BYTES);
    return item;
}

#endif
