/* How long things took: a histogram of 32 steps for each power of two, so 3 % wide, and the line that ends a run. */
#ifndef TIMES_H
#define TIMES_H

#include "common.h"

#define STEPS 64
static uint64_t histogram[64 * STEPS], longest, counted;

static void count_time(uint64_t ns) {
    unsigned power = ns < STEPS ? 0 : 58u - (unsigned)__builtin_clzll(ns); /* 6 bits are kept, the first is always 1 */
    histogram[power * STEPS + (ns >> power) % STEPS]++;
    if (ns > longest) longest = ns;
    counted++;
}

static double microseconds_at(double share) {
    uint64_t wanted = (uint64_t)((double)counted * share), seen = 0;
    for (unsigned i = 0; i < 64 * STEPS; i++) {
        seen += histogram[i];
        if (seen <= wanted) continue;
        unsigned power = i / STEPS;
        uint64_t ns = power ? (uint64_t)(STEPS / 2 + i % (STEPS / 2)) << power : i;
        return (double)ns / 1000;
    }
    return (double)longest / 1000;
}

static void print_result(uint64_t count, uint64_t ns) {
    static const char form[] = "{\"messages\": %llu, \"seconds\": %.6f, "
                               "\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n";
    printf(form, (unsigned long long)count, (double)ns / 1e9, microseconds_at(0.5), microseconds_at(0.99),
           microseconds_at(0.999), (double)longest / 1000);
    fflush(stdout);
    memset(histogram, 0, sizeof histogram);
    longest = counted = 0;
}

#endif
