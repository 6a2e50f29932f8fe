/*
 * spsc.pml - the ring without locks of lab 8, as a model for spin(1): a
 * producer and a consumer, in every order of their steps.
 *
 *     spin -a [-DSLOTS=n] [-DWRONG=n] spsc.pml && gcc -o pan pan.c && ./pan
 *
 * A slot's word says whose it is: 2n when message n may be put there, 2n + 1
 * when it lies there.  Here it has three bits only, so that the counter
 * overflows, as one of 32 bits does some day.
 *
 * What a memory order is for: an access may be moved past the access to the
 * word, unless that is an acquire (what follows it stays behind it) or a
 * release (what precedes it stays before it).  WRONG takes one of the four
 * away, and the model then tries both orders:
 *
 *     1  commit:  the word is stored relaxed, the bytes may come after it
 *     2  peek:    the word is loaded relaxed, the bytes may be read before it
 *     3  consume: the word is stored relaxed, the bytes may be read after it
 *     4  reserve: the word is loaded relaxed, the bytes may be stored before it
 *
 * and two without a memory order:
 *
 *     5  the consumer gives the slot to the message behind this one, not to
 *        the one that is a ring's length behind
 *     6  all words are 0 at the start
 */
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef WRONG
#define WRONG 0
#endif

#define MESSAGES 9 /* more than twice around, and past the overflow */
#define WORD(x)  ((x) % 8)

byte word[SLOTS];
byte low[SLOTS], high[SLOTS]; /* a message's two bytes: half of one can be seen */

#define SLOT       (n % SLOTS)
#define AWAIT(x)   (word[SLOT] == WORD(x))
#define PUT_BYTES  low[SLOT] = n + 1; high[SLOT] = n + 1
#define GET_BYTES  l = low[SLOT]; h = high[SLOT]
#define FREE       (2 * n)
#define FULL       (2 * n + 1)
#define FREE_AGAIN (2 * (n + (WRONG == 5 -> 1 : SLOTS)))

proctype producer()
{
    byte n = 0;

    do
    :: n == MESSAGES -> break
    :: else ->
        if
        :: AWAIT(FREE) -> PUT_BYTES; word[SLOT] = WORD(FULL)
        :: WRONG == 1 && AWAIT(FREE) -> word[SLOT] = WORD(FULL); PUT_BYTES
        :: WRONG == 4 -> PUT_BYTES; AWAIT(FREE) -> word[SLOT] = WORD(FULL)
        fi;
        n++
    od
}

proctype consumer()
{
    byte n = 0, l, h;

    do
    :: n == MESSAGES -> break
    :: else ->
        if
        :: AWAIT(FULL) -> GET_BYTES; word[SLOT] = WORD(FREE_AGAIN)
        :: WRONG == 2 -> GET_BYTES; AWAIT(FULL) -> word[SLOT] = WORD(FREE_AGAIN)
        :: WRONG == 3 && AWAIT(FULL) -> word[SLOT] = WORD(FREE_AGAIN); GET_BYTES
        fi;
        assert(l == n + 1 && h == n + 1);
        n++
    od
}

init
{
    byte i = 0;

    atomic {
        do
        :: i == SLOTS -> break
        :: else ->
            word[i] = (WRONG == 6 -> 0 : WORD(2 * i));
            i++
        od;
        run producer();
        run consumer()
    }
}
