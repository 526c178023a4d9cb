/* As much of MessagePack as the node protocol needs, by hand. */
#ifndef MSGPACK_H
#define MSGPACK_H

#include "common.h"

/* --- writing: into a buffer that grows ---------------------------------------------------------------------------- */

struct writer {
    unsigned char *data;
    size_t size, room;
};

static inline unsigned char *reserve(struct writer *writer, size_t bytes) {
    if (writer->size + bytes > writer->room) {
        writer->room = 2 * (writer->size + bytes) + 4096;
        writer->data = realloc(writer->data, writer->room);
        if (!writer->data) fail("out of memory");
    }
    unsigned char *at = writer->data + writer->size;
    writer->size += bytes;
    return at;
}

static inline void put_big_endian(unsigned char *out, uint64_t number, int bytes) {
    for (int i = bytes - 1; i >= 0; i--, number >>= 8) out[i] = (unsigned char)number;
}

static inline void put_marked(struct writer *writer, unsigned char mark, uint64_t number, int bytes) {
    unsigned char *at = reserve(writer, 1 + (size_t)bytes);
    at[0] = mark;
    put_big_endian(at + 1, number, bytes);
}

static inline void put_uint(struct writer *writer, uint64_t number) {
    if (number < 128) *reserve(writer, 1) = (unsigned char)number;
    else if (number < 1u << 16) put_marked(writer, 0xcd, number, 2);
    else if (number < 1ull << 32) put_marked(writer, 0xce, number, 4);
    else put_marked(writer, 0xcf, number, 8);
}

static inline void put_float(struct writer *writer, double number) {
    uint64_t bits;
    memcpy(&bits, &number, 8);
    put_marked(writer, 0xcb, bits, 8);
}

static inline void put_bool(struct writer *writer, bool value) { *reserve(writer, 1) = value ? 0xc3 : 0xc2; }

static inline void put_array(struct writer *writer, unsigned items) {
    if (items < 16) *reserve(writer, 1) = (unsigned char)(0x90 | items);
    else put_marked(writer, 0xdd, items, 4);
}

static inline void put_binary(struct writer *writer, const void *data, size_t size) {
    if (size < 256) put_marked(writer, 0xc4, size, 1);
    else put_marked(writer, 0xc6, size, 4);
    if (size) memcpy(reserve(writer, size), data, size);
}

static inline void put_text(struct writer *writer, const char *text) {
    size_t size = strlen(text);
    if (size < 32) *reserve(writer, 1) = (unsigned char)(0xa0 | size);
    else put_marked(writer, 0xdb, size, 4);
    memcpy(reserve(writer, size), text, size);
}

/* --- reading: whatever is not what is asked for ends the program -------------------------------------------------- */

struct reader {
    const unsigned char *at, *end;
};

static inline const unsigned char *take_bytes(struct reader *reader, uint64_t size) {
    const unsigned char *at = reader->at;
    if ((uint64_t)(reader->end - at) < size) fail("a batch ends in the middle");
    reader->at = at + size;
    return at;
}

static inline uint64_t get_big_endian(struct reader *reader, int bytes) {
    const unsigned char *at = take_bytes(reader, (uint64_t)bytes);
    uint64_t number = 0;
    for (int i = 0; i < bytes; i++) number = number << 8 | at[i];
    return number;
}

static inline uint64_t get_uint(struct reader *reader) {
    unsigned char mark = *take_bytes(reader, 1);
    if (mark < 128) return mark;
    if (mark >= 0xcc && mark <= 0xcf) return get_big_endian(reader, 1 << (mark - 0xcc));
    fail("an integer was expected, %02x came", mark);
}

static inline double get_float(struct reader *reader) {
    if (reader->at < reader->end && *reader->at != 0xcb) return (double)get_uint(reader);
    take_bytes(reader, 1);
    uint64_t bits = get_big_endian(reader, 8);
    double number;
    memcpy(&number, &bits, 8);
    return number;
}

static inline bool get_bool(struct reader *reader) {
    unsigned char mark = *take_bytes(reader, 1);
    if (mark != 0xc2 && mark != 0xc3) fail("a boolean was expected, %02x came", mark);
    return mark == 0xc3;
}

static inline uint64_t get_array(struct reader *reader) {
    unsigned char mark = *take_bytes(reader, 1);
    if (mark >> 4 == 9) return mark & 15;
    if (mark == 0xdc || mark == 0xdd) return get_big_endian(reader, mark == 0xdc ? 2 : 4);
    fail("an array was expected, %02x came", mark);
}

/* Text or a binary. */
static inline const unsigned char *get_data(struct reader *reader, size_t *size) {
    unsigned char mark = *take_bytes(reader, 1);
    if (mark >> 5 == 5) *size = mark & 31;
    else if (mark >= 0xc4 && mark <= 0xc6) *size = get_big_endian(reader, 1 << (mark - 0xc4));
    else if (mark >= 0xd9 && mark <= 0xdb) *size = get_big_endian(reader, 1 << (mark - 0xd9));
    else fail("text or a binary was expected, %02x came", mark);
    return take_bytes(reader, *size);
}

static inline void skip(struct reader *reader) {
    if (reader->at == reader->end) fail("a batch ends in the middle");
    unsigned char mark = *reader->at;
    size_t size;
    if (mark >> 5 == 5 || (mark >= 0xc4 && mark <= 0xc6) || (mark >= 0xd9 && mark <= 0xdb)) {
        get_data(reader, &size);
        return;
    }
    if (mark >> 4 == 9 || mark == 0xdc || mark == 0xdd) {
        for (uint64_t items = get_array(reader); items--;) skip(reader);
        return;
    }
    take_bytes(reader, 1);
    if (mark >> 4 == 8) {
        for (unsigned items = 2 * (mark & 15u); items--;) skip(reader);
    } else if (mark == 0xca || mark == 0xcb) {
        take_bytes(reader, mark == 0xca ? 4 : 8);
    } else if (mark >= 0xcc && mark <= 0xd3) {
        take_bytes(reader, 1u << ((mark - 0xcc) & 3));
    } else if (mark >= 128 && mark < 0xe0 && mark != 0xc0 && mark != 0xc2 && mark != 0xc3) {
        fail("%02x came, which the node protocol does not use", mark);
    }
}

#endif
