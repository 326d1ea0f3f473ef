/* A zstd of another version, as a host may carry one: its symbols are global and come first in the search order of
 * everything that is loaded later. libdsv4 has its own; whatever of it lands here would be a clash, and says so. */
#include <stdio.h>
#include <stdlib.h>

unsigned ZSTD_versionNumber(void);
unsigned ZSTD_versionNumber(void) { return 100; } /* 0.1.0: the host's question, answered */

#define FOREIGN(name)                                                       \
  void name(void);                                                          \
  void name(void) {                                                         \
    fputs("FAILED: libdsv4 called " #name " of the host's zstd\n", stderr); \
    abort();                                                                \
  }
FOREIGN(ZSTD_compress)
FOREIGN(ZSTD_compressBound)
FOREIGN(ZSTD_compressCCtx)
FOREIGN(ZSTD_compressStream2)
FOREIGN(ZSTD_createCCtx)
FOREIGN(ZSTD_createDCtx)
FOREIGN(ZSTD_decompress)
FOREIGN(ZSTD_decompressDCtx)
FOREIGN(ZSTD_decompressStream)
FOREIGN(ZSTD_findFrameCompressedSize)
FOREIGN(ZSTD_freeCCtx)
FOREIGN(ZSTD_freeDCtx)
FOREIGN(ZSTD_getErrorName)
FOREIGN(ZSTD_isError)
