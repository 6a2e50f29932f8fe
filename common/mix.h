/* mix.h - a well mixed number from any other. */
#ifndef MIX_H
#define MIX_H

#include <stdint.h>

/* Each bit of x changes about half of the result's: the finaliser of splitmix64
 * (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
 * 2014).  0 gives 0. */
static inline uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

#endif
