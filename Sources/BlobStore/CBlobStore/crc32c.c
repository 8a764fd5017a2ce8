#include "CBlobStore.h"

#include <pthread.h>
#include <string.h>

// Slicing by eight: table[k][b] is the checksum of byte b followed by k zero bytes. The reflected polynomial is 0x82F63B78.
static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void make_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1)));
        table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int k = 1; k < 8; k++) table[k][byte] = (table[k - 1][byte] >> 8) ^ table[0][table[k - 1][byte] & 0xFF];
    }
}

uint32_t granary_crc32c_tables(uint32_t crc, const void *bytes, size_t count) {
    pthread_once(&table_once, make_table);
    const uint8_t *at = bytes;
    crc = ~crc;
    for (; count >= 8; count -= 8, at += 8) {
        crc ^= (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        crc = table[7][crc & 0xFF] ^ table[6][crc >> 8 & 0xFF] ^ table[5][crc >> 16 & 0xFF] ^ table[4][crc >> 24] ^ table[3][at[4]]
            ^ table[2][at[5]] ^ table[1][at[6]] ^ table[0][at[7]];
    }
    for (; count > 0; count--, at++) crc = (crc >> 8) ^ table[0][(crc ^ *at) & 0xFF];
    return ~crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(uint32_t crc, const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    uint64_t state = ~crc;
    for (; count >= 8; count -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        state = _mm_crc32_u64(state, word);
    }
    for (; count > 0; count--, at++) state = _mm_crc32_u8((uint32_t)state, *at);
    return ~(uint32_t)state;
}

uint32_t granary_crc32c(uint32_t crc, const void *bytes, size_t count) {
    return __builtin_cpu_supports("sse4.2") ? crc32c_instruction(crc, bytes, count) : granary_crc32c_tables(crc, bytes, count);
}

#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

uint32_t granary_crc32c(uint32_t crc, const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    crc = ~crc;
    for (; count >= 8; count -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        crc = __crc32cd(crc, word);
    }
    for (; count > 0; count--, at++) crc = __crc32cb(crc, *at);
    return ~crc;
}

#else

uint32_t granary_crc32c(uint32_t crc, const void *bytes, size_t count) { return granary_crc32c_tables(crc, bytes, count); }

#endif
