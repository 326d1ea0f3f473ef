// How long opening takes: a folder with every tensor of Flash (or Pro) under its real name, in 46 sparse shards of the
// real sizes, which cost no disk. Prints the shape, tensors, bytes and seconds of the fastest and the slowest of five.
//   open_bench [flash|pro]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>

#include "lib/checkpoint/checkpoint.h"
#include "tests/support/folder_writer.h"

int main(int argc, char** argv) {
  try {
    const std::string shape = argc > 1 ? argv[1] : "flash";
    const TempFolder folder;
    FolderWriter writer(dsv4::published_config(shape));
    writer.shards = 46;
    writer.write(folder.path());
    double best = 1e9, worst = 0;
    uint64_t bytes = 0;
    for (int i = 0; i < 5; ++i) {
      const auto start = std::chrono::steady_clock::now();
      const auto checkpoint = dsv4::Checkpoint::open(folder.path(), {});
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      best = std::min(best, seconds);
      worst = std::max(worst, seconds);
      bytes = checkpoint->weight_bytes();
    }
    std::printf("%s: %zu tensors in %d shards, %.2f GB: opened in %.3f s (slowest of five %.3f s)\n", shape.c_str(),
                writer.tensors.size(), writer.shards, static_cast<double>(bytes) / 1e9, best, worst);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "open_bench: %s\n", error.what());
    return 1;
  }
}
