// safetensors headers: what is read of a good one, and that every kind of damage is found and named.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "lib/base/error.h"
#include "lib/checkpoint/safetensors.h"
#include "tests/support/folder_writer.h"

using namespace dsv4;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string refusal(const std::string& path, Status status = Status::kCorrupt) {
  try {
    SafetensorsFile file(path);
  } catch (const Error& error) {
    CHECK(error.status() == status);
    CHECK(contains(error.what(), path));
    return error.what();
  }
  FAIL("accepted: ", path);
  return "";
}

}  // namespace

TEST_CASE("a golden file: names, types, shapes and bytes") {
  const SafetensorsFile file(DSV4_TEST_DATA "/golden/micro/golden.safetensors");
  const SafetensorsEntry* logits = file.find("logits");
  REQUIRE(logits != nullptr);
  CHECK(logits->type == StoredType::kF32);
  CHECK(shape_text(*logits) == "[300, 260]");
  CHECK(logits->end - logits->begin == 300 * 260 * 4);
  float first = 0;
  std::memcpy(&first, file.data(*logits), 4);
  CHECK(first == first);
  CHECK(file.find("nothing") == nullptr);
  CHECK(file.find("") == nullptr);
}

TEST_CASE("headers that are fine") {
  const TempFolder folder;
  const std::string path = folder.file("a.safetensors");
  const char* const all[] = {
      R"({})",
      R"({"__metadata__":{"format":"pt","deep":{"er":[1,2]}}})",
      R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}   )",
      R"({"a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"}})",                     // a scalar
      R"({"a":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}})",  // empty, whatever else it says
      R"({"a":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]}})",
      R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[8,12]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
  };
  for (const char* header : all) {
    CAPTURE(header);
    write_raw_safetensors(path, header, 16);
    CHECK_NOTHROW(SafetensorsFile{path});
  }
  write_raw_safetensors(path, R"({"\u0061\"\u00e9\ud83d\ude00":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
  const SafetensorsFile file(path);
  CHECK(file.find("a\"\xc3\xa9\xf0\x9f\x98\x80") != nullptr);
}

TEST_CASE("headers that are not") {
  struct Bad {
    std::string header;
    const char* says;
  };
  const std::string deep(100000, '[');
  const Bad all[] = {
      {"", "a value expected"},
      {"[]", "an object expected"},
      {"{", "a string expected"},
      {"{} {}", "the end expected"},
      {deep, "an object expected"},
      {R"({"a":)" + deep, "tensor a: an object expected"},
      {R"({"__metadata__":)" + deep, "__metadata__"},
      {R"({"__metadata__":{"x":)" + deep, "nested too deeply"},
      {R"({"a":3})", "tensor a: an object expected"},
      {R"({"a":{}})", "tensor a: dtype, shape and data_offsets expected, not all found"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", "not all found"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", "another key"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "tensor a: dtype given twice"},
      {R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", "tensor a: unknown dtype F31"},
      {R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})", "dtype: a string"},
      {R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", "shape: an array"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "at least 0 expected, -1 found"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "1.0 found"},
      {R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", "shape: integers"},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", "at most 8 dimensions"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", "below 2^63"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", "below 2^63"},
      {R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", "shape"},
      {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", "whole number of bytes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "tensor a: 8 bytes expected for F32 [2], 4 found"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", "data_offsets: two integers"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})", "data_offsets: two integers"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", "data_offsets: two integers"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "leave the file's 16 bytes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[16,24]}})", "tensor a: data_offsets [16, 24] leave"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[9223372036854775800,9223372036854775807]}})", "leave"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
       "tensor a: two tensors of this name"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})"
       R"(,"\u0061":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
       "tensor a: two tensors of this name"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
       "tensor b: its bytes [3, 7] overlap those of a, [0, 4]"},
      {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", "not UTF-8"},
      {R"({"\u0000":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "without control characters"},
      {R"({"":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "a tensor name of 1 to 1024 bytes"},
      {"{\"" + std::string(2000, 'a') + R"(":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "1 to 1024 bytes"},
  };
  const TempFolder folder;
  const std::string path = folder.file("a.safetensors");
  for (const Bad& bad : all) {
    CAPTURE(bad.header.substr(0, 120));
    write_raw_safetensors(path, bad.header, 16);
    const std::string message = refusal(path);
    CHECK_MESSAGE(contains(message, bad.says), message);
    CHECK(message.size() < 2000);
  }
}

TEST_CASE("header lengths that cannot be") {
  const TempFolder folder;
  const std::string path = folder.file("a.safetensors");
  for (size_t size = 0; size < 8; ++size) {
    write_text(path, std::string(size, '\0'));
    CHECK(contains(refusal(path), "a header length of 8 expected"));
  }
  write_text(path, std::string(8, '\xff') + "{}");
  CHECK(contains(refusal(path), "header length 18446744073709551615, 2 bytes follow"));
  write_text(path, std::string("\x03\0\0\0\0\0\0\0{}", 10));
  CHECK(contains(refusal(path), "header length 3, 2 bytes follow"));
  // Longer than the format allows, though the (sparse) file has it.
  write_raw_safetensors(path, "{}", SafetensorsFile::kMaxHeader + 100);
  std::string bytes = std::string("\x01\xe1\xf5\x05\0\0\0\0", 8);  // 100,000,001
  FILE* file = std::fopen(path.c_str(), "r+b");
  REQUIRE(file != nullptr);
  std::fwrite(bytes.data(), 1, 8, file);
  std::fclose(file);
  CHECK(contains(refusal(path), "at most 100000000 expected"));
  CHECK(contains(refusal(folder.file("none.safetensors"), Status::kNotFound), "cannot open"));
  CHECK(contains(refusal(folder.path(), Status::kIo), "regular file"));
}
