// What the operating system has to say about a processor: which of its registers may be used, which instructions it has.
#pragma once

namespace dsv4 {

// Asks for the tile registers of AMX, whose 8 KB a thread Linux saves only for processes that asked: for the whole
// process and for good, and as often as one likes. Null: granted; otherwise why not.
const char* request_tile_registers();

// Whether a 64-bit Arm multiplies bytes four at a time (asimddp). Its own registers do not tell a program.
bool has_byte_dot_products();

}  // namespace dsv4
