// What the operating system has to allow before a processor's registers may be used.
#pragma once

namespace dsv4 {

// Asks for the tile registers of AMX, whose 8 KB a thread Linux saves only for processes that asked: for the whole
// process and for good, and as often as one likes. Null: granted; otherwise why not.
const char* request_tile_registers();

}  // namespace dsv4
