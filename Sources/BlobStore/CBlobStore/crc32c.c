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
#define HAS_INSTRUCTION __builtin_cpu_supports("sse4.2")
#define TARGET __attribute__((target("sse4.2")))
#define WORD(state, word) ((uint32_t)_mm_crc32_u64(state, word))
#define BYTE(state, byte) _mm_crc32_u8(state, byte)
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define HAS_INSTRUCTION 1
#define TARGET
#define WORD(state, word) __crc32cd(state, word)
#define BYTE(state, byte) __crc32cb(state, byte)
#endif

#if defined(HAS_INSTRUCTION)

// The instruction takes three cycles and can begin anew in each: three lanes side by side, one behind the other in the bytes. A checksum's register
// is linear in what it was before, so that of a lane is what it would be from zero, and what came before it moved over LANE zero bytes.
enum { LANE = 1024 };

// moved[k][b]: the register whose byte k is b, and whose others are zero, after LANE zero bytes.
static uint32_t moved[4][256];
static pthread_once_t moved_once = PTHREAD_ONCE_INIT;

static void make_moved(void) {
    pthread_once(&table_once, make_table);
    uint32_t of_bit[32];
    for (int bit = 0; bit < 32; bit++) {
        uint32_t crc = 1u << bit;
        for (int i = 0; i < LANE; i++) crc = (crc >> 8) ^ table[0][crc & 0xFF];
        of_bit[bit] = crc;
    }
    for (int k = 0; k < 4; k++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t crc = 0;
            for (int bit = 0; bit < 8; bit++) crc ^= of_bit[8 * k + bit] & (0u - (uint32_t)(byte >> bit & 1));
            moved[k][byte] = crc;
        }
    }
}

static uint32_t move(uint32_t crc) {
    return moved[0][crc & 0xFF] ^ moved[1][crc >> 8 & 0xFF] ^ moved[2][crc >> 16 & 0xFF] ^ moved[3][crc >> 24];
}

TARGET static uint32_t crc32c_instruction(uint32_t crc, const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    uint64_t word[3];
    crc = ~crc;
    if (count >= 3 * LANE) pthread_once(&moved_once, make_moved);
    for (; count >= 3 * LANE; count -= 3 * LANE, at += 3 * LANE) {
        uint32_t lane[3] = {crc, 0, 0};
        for (size_t i = 0; i < LANE; i += 8) {
            for (int k = 0; k < 3; k++) memcpy(&word[k], at + k * LANE + i, 8);
            for (int k = 0; k < 3; k++) lane[k] = WORD(lane[k], word[k]);
        }
        crc = move(move(lane[0]) ^ lane[1]) ^ lane[2];
    }
    for (; count >= 8; count -= 8, at += 8) {
        memcpy(&word[0], at, 8);
        crc = WORD(crc, word[0]);
    }
    for (; count > 0; count--, at++) crc = BYTE(crc, *at);
    return ~crc;
}

uint32_t granary_crc32c(uint32_t crc, const void *bytes, size_t count) {
    return HAS_INSTRUCTION ? crc32c_instruction(crc, bytes, count) : granary_crc32c_tables(crc, bytes, count);
}

#else

uint32_t granary_crc32c(uint32_t crc, const void *bytes, size_t count) { return granary_crc32c_tables(crc, bytes, count); }

#endif
