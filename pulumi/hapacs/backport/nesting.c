/* Refuses DICOM data sets whose sequences are nested deeper than DCMTK and its callers can stand
 * (docs/adr/0046-deep-nesting-is-refused-inside-dcmtk.md). Orthanc is started with this library in LD_PRELOAD.
 *
 * DCMTK reads a sequence inside of a sequence by a call inside of a call, without a limit: a file of 72 KB takes the whole stack of a
 * thread, and ends the process. Every sequence, of whatever VR and by whichever way it came, is read by one function, which is virtual and
 * exported. This one has its name, counts the calls of a thread that are open, and passes on to DCMTK's own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

/* Sequences inside of each other that are read. Images have less than ten. At 200 our own search tables still hold all attributes, with 500
 * Orthanc's answer to STOW-RS no longer names the image, and from 1,000 on a stack of 2 MB is used up (all measured). */
#define LIMIT 128

/* OFCondition DcmSequenceOfItems::read(DcmInputStream &, E_TransferSyntax, E_GrpLenEncoding, Uint32), of libdcmtk 3.6.9. */
#define READ _ZN18DcmSequenceOfItems4readER14DcmInputStream16E_TransferSyntax16E_GrpLenEncodingj
#define TEXT_OF(name) #name
#define NAME_OF(name) TEXT_OF(name)

/* OFCondition, which C++ returns through a pointer that the caller passes first (Itanium C++ ABI, System V ABI for x86-64). */
struct condition {
    unsigned short module, code;
    int status;
    const char *text;
    _Bool owns_text;
};
typedef struct condition *reader(struct condition *, void *, void *, int, int, unsigned);

enum { OFM_dcmdata = 1, CORRUPTED_DATA = 14, OF_error = 1 };

static __thread unsigned open_sequences;
static reader *dcmtk;

__attribute__((constructor)) static void find_dcmtk(void)
{
    dcmtk = (reader *)dlsym(RTLD_NEXT, NAME_OF(READ));
}

static void leave(unsigned *before)
{
    open_sequences = *before;
}

__attribute__((visibility("default"))) reader READ;

struct condition *READ(struct condition *answer, void *self, void *stream, int syntax, int groups, unsigned maximum)
{
    /* Also when DCMTK throws, as it does without memory: compiled with -fexceptions. */
    __attribute__((cleanup(leave))) unsigned before = open_sequences;

    if (open_sequences >= LIMIT || dcmtk == 0) {
        *answer = (struct condition){OFM_dcmdata, CORRUPTED_DATA, OF_error, "Sequences are nested too deeply", 0};
        return answer;
    }
    open_sequences++;
    return dcmtk(answer, self, stream, syntax, groups, maximum);
}
