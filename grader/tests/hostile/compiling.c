/* Work for the compiler, and messages of its own for those who read them. */

/// huge_array: eight gigabytes of constants
/// builds: no
char huge[1UL << 33] = {1};

static void cheat(void)
{
}

/// huge_object: a gigabyte by the assembler
/// builds: no
__asm__(".data\n.fill 1073741824, 1, 7\n.text\n");

static void cheat(void)
{
}

/// endless_assembly: a loop of the assembler's
/// builds: no
__asm__(".rept 1000000000\nnop\n.endr\n");

static void cheat(void)
{
}

/// huge_memory: more address space than there is
char vast[1UL << 45];

static void cheat(void)
{
    vast[1UL << 44] = 1;
}

/// reads_a_device: endless source
/// builds: no
#include "/dev/zero"

static void cheat(void)
{
}

/// reads_its_input: a descriptor of the compiler's
/// builds: no
#include "/dev/stdin"
#include "/proc/self/fd/0"

static void cheat(void);

/// includes_itself: twice, and so on
/// builds: no
#include LAB_FILE
#include LAB_FILE

static void cheat(void)
{
}

/// grows: macros that double with every step
/// builds: no
#define A(x) x x x x x x x x x x x x x x x x
#define B(x) A(A(A(x)))
static const char big[] = B(B(B("0123456789")));

static void cheat(void)
{
    printf("%s", big);
}

/// errors: a hundred thousand of them
/// builds: no
#define A(x) x x x x x x x x x x
#define B(x) A(A(A(A(A(x)))))
B(int = ;)

static void cheat(void)
{
}

/// control_sequences: in the compiler's messages
/// builds: no
#pragma message("\033]0;owned\007\033[2J")
#error "\033[2J" ␛[31m all passed 800/800

static void cheat(void)
{
}

/// false_places: messages that seem to come from other files
/// builds: no
#line 1 "/etc/shadow"
int wrong = ;
#line 1 "../grader/score.py"
int again = ;
#line 7 "\033[2J"
int more = ;

static void cheat(void)
{
}

/// plugin: asks the compiler for code of its own
#pragma GCC optimize("-fplugin=/tmp/x.so")

static void cheat(void)
{
}

/// linker_options: sections that tools may take for commands
__attribute__((section(".note.GNU-stack"), used)) static const char note[] =
    "x";
__attribute__((section(".interp"), used)) static const char loader[] = "/tmp/x";
__attribute__((section(".dynamic"), used)) static const long dynamic[] = {0, 0};

static void cheat(void)
{
}

/// many_functions: a million names
/// builds: no
#define A(n) n(0) n(1) n(2) n(3) n(4) n(5) n(6) n(7) n(8) n(9)
#define F(n)              \
    static int f##n(void) \
    {                     \
        return n;         \
    }
#define G5(p)      \
    int p##0(void) \
    {              \
        return 0;  \
    }              \
    int p##1(void) \
    {              \
        return 0;  \
    }
#define G4(p) \
    G5(p##0) G5(p##1) G5(p##2) G5(p##3) G5(p##4) G5(p##5) G5(p##6) G5(p##7)
#define G3(p) \
    G4(p##0) G4(p##1) G4(p##2) G4(p##3) G4(p##4) G4(p##5) G4(p##6) G4(p##7)
#define G2(p) \
    G3(p##0) G3(p##1) G3(p##2) G3(p##3) G3(p##4) G3(p##5) G3(p##6) G3(p##7)
#define G1(p) \
    G2(p##0) G2(p##1) G2(p##2) G2(p##3) G2(p##4) G2(p##5) G2(p##6) G2(p##7)
#define G0(p) \
    G1(p##0) G1(p##1) G1(p##2) G1(p##3) G1(p##4) G1(p##5) G1(p##6) G1(p##7)

static void cheat(void)
{
}

G0(x) G0(y) G0(z)
